"""Reports: records to text. Where the text goes is the business of `cli`."""
