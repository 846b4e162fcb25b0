"""How much memory the plugin may use: one setting, in Options > Processing > Providers."""

from processing.core.ProcessingConfig import ProcessingConfig

from .workflows.memory import free_memory

MEMORY_SETTING = "SCOREAD_MEMORY"


def memory_limit():
    """Bytes that reading and detecting may take: the setting, or a quarter of the memory that is free now."""
    megabytes = int(ProcessingConfig.getSetting(MEMORY_SETTING) or 0)
    return megabytes * 2**20 if megabytes > 0 else free_memory() // 4
