"""Methods as a stranger's package brings them: the shortest honest one for each part of the contract."""
