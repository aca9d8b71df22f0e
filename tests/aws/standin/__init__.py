"""Stands in for Pulumi's AWS plugin (pulumi-aws 7.51.1) on moto: real engine, real boto3, no account."""
