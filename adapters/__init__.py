"""Real models behind the roles of `mmspec`, and the embedded tiny set."""
