"""What Sluice costs a `pulumi up`, beside a bare program with as many resources of a provider that does nothing."""
