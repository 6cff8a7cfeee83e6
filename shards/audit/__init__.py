"""What a slide is like before anything is cut from it: tissue, glass, pen, blur, declared colour; and what follows from it.

config   TissueConfig, AuditConfig: methods, limits, and the flags that put a slide into quarantine
tissue   Otsu tissue mask
pen      pixels painted by a marker
blur     sharpness of the tissue
slide    one slide -> its tissue mask, measures and flags
inspect  the audit as cutting and prediction ask for it: is the slide to be used?
labels   how an annotation's labels lie on the tissue and on the slide
"""

from shards.audit.slide import Audit, audit_slide
from shards.audit.tissue import TissueMask, find_tissue

__all__ = ["Audit", "TissueMask", "audit_slide", "find_tissue"]
