"""Cross-validation: a method trained once a fold, its predictions out of fold, and the ensemble of all folds."""
