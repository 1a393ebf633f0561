"""The monotonic clock of one simulated server: its own zero, its own speed, jumps ahead and standstills."""


class Clock:
    """A line from world time to local time, both in seconds; it never runs backwards, like CLOCK_MONOTONIC."""

    def __init__(self, offset_s: float = 0.0, rate: float = 1.0) -> None:
        self._world_s = 0.0
        self._local_s = offset_s
        self._rate = rate

    def local_s(self, world_s: float) -> float:
        """What this clock shows at that world time; it stands still until a freeze is over."""
        return self._local_s + max(0.0, world_s - self._world_s) * self._rate

    def world_s(self, local_s: float) -> float:
        """When this clock will show that local time."""
        return self._world_s + (local_s - self._local_s) / self._rate

    def jump(self, world_s: float, seconds: float) -> None:
        """Skip ahead (a virtual machine that was paused, with a clock that was not)."""
        self._anchor(world_s)
        self._local_s += seconds

    def freeze(self, world_s: float, seconds: float) -> None:
        """Stand still (a virtual machine that was suspended together with its clock, seen from its processes)."""
        self._anchor(world_s)
        self._world_s += seconds

    def thaw(self, world_s: float) -> None:
        """End a freeze early."""
        self._local_s = self.local_s(world_s)
        self._world_s = world_s

    def drift(self, world_s: float, rate: float) -> None:
        """Go on at another speed; 1.0 is true time."""
        self._anchor(world_s)
        self._rate = rate

    def _anchor(self, world_s: float) -> None:
        self._local_s = self.local_s(world_s)
        self._world_s = max(self._world_s, world_s)
