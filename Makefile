# Each target is a function in tools/targets.py; tools/bootstrap.py makes the virtual environment it runs in.
# For any make (3.81 too), in a folder with any name: paths here are relative.

PYTHON ?= python3
STACK ?= dev

# A value reaches the tools through the environment, as it was typed: no shell, and no make, reads quotes or $ in it.
# NAME and the like count only where they are given to make: an environment may have a NAME of its own.
typed = $(if $(findstring command line,$(origin $(1))),$(value $(1)))
export SLUICE_STACK := $(value STACK)
export SLUICE_NAME := $(call typed,NAME)
export SLUICE_SLOT := $(call typed,SLOT)
export SLUICE_FILE := $(call typed,FILE)
export SLUICE_SQL := $(call typed,SQL)
export SLUICE_REASON := $(call typed,REASON)
export SLUICE_SINCE := $(call typed,SINCE)
export SLUICE_UNTIL := $(call typed,UNTIL)
export SLUICE_DRY := $(call typed,DRY)
export SLUICE_POLICY := $(call typed,POLICY)
export SLUICE_BASE := $(call typed,BASE)
export SLUICE_FORMAT := $(call typed,FORMAT)
export SLUICE_STRICT := $(call typed,STRICT)
export SLUICE_TIER := $(call typed,TIER)
export SLUICE_ARGS := $(call typed,ARGS)
unexport NAME SLOT FILE SQL REASON SINCE UNTIL DRY POLICY BASE FORMAT STRICT TIER ARGS

targets = up preview review refresh down stop status url send sql replay trial env logs lint test test-all coverage

.PHONY: help $(targets)

help: ## this list
	@awk -F ' *## *' '/^[a-z-]+:.*##/ { split($$1, target, ":"); printf "make %-8s %s\n", target[1], $$2 }' Makefile

up: ## bring the stack up to what its config says, everything it needs included
preview: ## show what `make up` would change: [POLICY=1: check the policies on dev as well]
review: ## what `make up` would mean, on one page: [BASE=main] [FORMAT=markdown] [STRICT=1: exit 2 for what is dangerous]
refresh: ## compare the state with what is really there
down: ## destroy the stack, and leave no process
stop: ## stop the receiver and PostgreSQL, and keep everything
status: ## integrations, endpoints, events; and what is down
url: ## print a secret URL: NAME="Stitch Customer.io" [SLOT=primary]
send: ## post sample deliveries: [FILE=one body a line] [NAME=…] [SLOT=…]
sql: ## query the warehouse: SQL="select …"; without SQL, psql
replay: ## load rejected deliveries again after a fix: [NAME=…] [REASON=words of it] [SINCE=2026-11-01] [UNTIL=…] [DRY=1]
trial: ## on AWS: post trial deliveries, and say of each claim whether it holds: [NAME=…] [ARGS=--ddl]
env: ## what plain `pulumi` needs in a shell: eval "$(make -s env)"
logs: ## the last lines of the logs
lint: ## linters only
test: ## linters and tests: [TIER=unit, provider, receiver, engine or aws] [ARGS=words for pytest]
test-all: ## the same, with the long matrices that run every night
coverage: ## which lines the tests run: [TIER=…] [ARGS=…]

$(targets):
	@"$(PYTHON)" tools/bootstrap.py $@
