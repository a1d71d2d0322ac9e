"""What is watched inside the network while it trains: callbacks around `diagnostics` and `plots`, thin ones."""
