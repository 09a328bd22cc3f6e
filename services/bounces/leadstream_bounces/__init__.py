"""The bounce receiver: delivery reports and complaints that come back by mail."""
