"""Chains: the steps of a plan, done one after another, each fed by what came of the steps before it."""
