"""Quality of labels and features, for logs and reports only: training reads none of it."""
