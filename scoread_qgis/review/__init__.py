"""The review: finding anomalies in a layer, deciding on each of them, and handing the accepted on."""
