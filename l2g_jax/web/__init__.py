"""A local web page and REST interface over a folder of photographs: the extra `[web]`."""
