"""The sources of artifacts, one file each; what they share of images and archives lies beside them."""
