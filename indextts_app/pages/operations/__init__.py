"""The operations page: what happened to a request, what fails, how it is now, what a month was."""
