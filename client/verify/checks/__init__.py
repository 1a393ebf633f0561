"""One function for each property, from facts to a finding; the docstring names where the property is stated."""
