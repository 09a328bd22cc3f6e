"""What tests share: servers, processes and waiting for conditions."""
