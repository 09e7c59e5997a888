"""Reports as one page of HTML that is complete in itself."""
