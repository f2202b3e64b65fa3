"""What was asked for, and who may ask for it: the options, configuration files, and the trust in them."""
