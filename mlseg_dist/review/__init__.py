"""What people should annotate next, from what a campaign's rounds of labels say about its training slides."""
