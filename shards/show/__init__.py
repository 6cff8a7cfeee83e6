"""One HTML page from which a person decides in a minute whether a corpus is right. Works from the corpus' folder alone.

sources  what lies in the folder: manifest, overviews, quarantine list
counts   slides, patients and samples by split, stain, scanner, source and class
remarks  what a person should look at first
tables   slides, patches, pixels, what was dropped, quarantine
charts   class mixes and score histograms
cards    slides with tissue, annotation and patches drawn in
pairs    which samples are shown, and their pictures
colours  of classes and scanners
parts    the templates
page     the whole page
"""
