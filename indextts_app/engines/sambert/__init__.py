"""The engine `sambert`: ModelScope's Sambert-HifiGan voices, as a service or in the worker."""
