"""NAO-V2 and NAO-WS: NAO with shared weights, trained in rounds. Importing this package imports no torch."""
