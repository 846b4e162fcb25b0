from ..core.loading import wait_passively

wait_passively()  # all that is in here imports torch
