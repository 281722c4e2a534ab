# SPDX-License-Identifier: Apache-2.0
# The README's commands. Everything is built by Meson; this only installs what is missing and forwards.

BUILD = build
TIME = 600

.PHONY: all deps demo check fuzz bench install clean

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

# TIME seconds for each target, two at a time; what they find and what they keep is in $(BUILD)/fuzz.
fuzz:
	@tools/deps.sh check
	@tests/fuzz/run.sh . $(BUILD)/fuzz $(TIME)

# Writes docs/numbers.md. The figures are worth what the machine is: leave it alone meanwhile.
bench: all
	@tools/deps.sh bench
	@bench/report $(BUILD)

install: all
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan
