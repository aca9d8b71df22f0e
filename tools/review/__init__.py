"""`make review`: a preview as a page that a person reads in half a minute, and that holds no secret."""
