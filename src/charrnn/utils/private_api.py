"""Names of libraries that are private, undocumented or written to from outside; pyproject.toml limits their versions.

tests/test_private_api.py fails with the name and its use when a new version drops one.
"""

# What it is used for, by name. Names below "Trainer" and "TensorBoardLogger" are attributes of their objects.
PRIVATE_API = {
    # No public function computes one norm for each of many tensors at once; a loop costs a tenth of a small step.
    "torch._foreach_norm": "gradient norms of all parameters in one call (module.py)",
    # Operations that write into memory given to them; the public functions allocate in every time step.
    "torch.ops.aten.tanh_backward.grad_input": "back-propagation through tanh (recurrence/fused.py)",
    "torch.ops.aten.threshold_backward.grad_input": "back-propagation through ReLU (recurrence/fused.py)",
    # SummaryWriter.add_hparams writes a second events file; this makes the entry for the first one.
    "torch.utils.tensorboard.summary.hparams": "the hyperparameters tab (run_logger.py)",
    # Lightning counts batches from the start of the epoch, and cannot be told to validate after a given step.
    "Trainer.val_check_batch": "validation after a step; written to (checkpoints.py)",
    "Trainer.fit_loop.epoch_loop.val_loop.restarting": "validation on resume; written to (checkpoints.py)",
    "Trainer.fit_loop.epoch_loop.val_loop.run": "the same (checkpoints.py)",
    "Trainer.validating": "the same; written to (checkpoints.py)",
    "Trainer.training": "the same; written to (checkpoints.py)",
    # The public property creates the file of a logger that was never used.
    "TensorBoardLogger._experiment": "closing the events file (run_logger.py)",
    # Flags and overrides are told apart as Hydra does it.
    "hydra._internal.utils.get_args_parser": "checking the command line (overrides.py)",
    "hydra.core.override_parser.overrides_parser.OverridesParser.create": "the same (overrides.py, sweep.py)",
}
