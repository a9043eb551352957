"""What several tests need: tiny models, projects, planted data, runs."""
