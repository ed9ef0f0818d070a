"""Image and text: what is learned from images with their reports, or from images alone, without labels."""
