"""Scoring: model outputs to answers, answers to numbers, and what no model scores."""
