"""Where attempts are executed: this machine, a Ray cluster, Slurm, Kubernetes."""
