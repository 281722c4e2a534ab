# SPDX-License-Identifier: Apache-2.0
# The README's commands. Everything is built by Meson; this only installs what is missing and forwards.

BUILD = build

.PHONY: all deps demo check bench install clean

all: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD)

deps:
	@tools/deps.sh build

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

demo: all
	@tools/demo.sh $(BUILD)

check: all
	@tools/deps.sh check
	@tools/check.sh $(BUILD)

# Writes docs/numbers.md. The figures are worth what the machine is: leave it alone meanwhile.
bench: all
	@tools/deps.sh bench
	@bench/report $(BUILD)

install: all
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan
