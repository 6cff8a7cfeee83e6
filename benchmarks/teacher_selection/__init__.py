"""Does the way in which overlapping validation patches are counted change which checkpoint becomes the teacher?"""
