"""List the private or undocumented library names that this project uses or assigns to.

pyproject.toml limits the versions of these libraries. When a new version drops a name,
tests/utils/test_private_api.py fails and says what the name was used for.
"""

# Each name with its use. Names below "Trainer" and "TensorBoardLogger" are attributes of instances.
PRIVATE_API = {
    # No public function computes the norms of many tensors at once; a loop takes a tenth of a small step's time.
    "torch._foreach_norm": "gradient norms of all parameters in one call (module.py)",
    "torch._foreach_mul": "gradients of a CUDA graph times one number, in one call (cuda_graph.py)",
    # Hooks of gradients would run twice.
    "torch.Tensor._backward_hooks": "steps that can't be a CUDA graph (cuda_graph.py)",
    # These operations write into existing memory; the public functions allocate at every time step.
    "torch.ops.aten.tanh_backward.grad_input": "backward pass of tanh (recurrence/fused.py)",
    "torch.ops.aten.threshold_backward.grad_input": "backward pass of ReLU (recurrence/fused.py)",
    # SummaryWriter.add_hparams writes a second events file; this creates the entry for the existing one.
    "torch.utils.tensorboard.summary.hparams": "the hyperparameters tab (training/logger.py)",
    # Lightning counts batches from the start of the epoch and has no setting to validate after a given step.
    "Trainer.val_check_batch": "validation after a given step; assigned (callbacks/checkpoint.py)",
    "Trainer.fit_loop.epoch_loop.val_loop.restarting": "validation on resume; assigned (callbacks/checkpoint.py)",
    "Trainer.fit_loop.epoch_loop.val_loop.run": "validation on resume (callbacks/checkpoint.py)",
    "Trainer.validating": "validation on resume; assigned (callbacks/checkpoint.py)",
    "Trainer.training": "validation on resume; assigned (callbacks/checkpoint.py)",
    "LightningModule._current_fx_name": "assigned by Lightning at every hook; made cheap (module.py)",
    # The public property would create an events file for a logger that was never used.
    "TensorBoardLogger._experiment": "closing the events file (training/logger.py)",
    # Flags and overrides are distinguished exactly as Hydra does it.
    "hydra._internal.utils.get_args_parser": "checking the command line (hydra_errors.py)",
    "hydra.core.override_parser.overrides_parser.OverridesParser.create": "reading overrides as Hydra does",
    "hydra.core.override_parser.types.QuotedString.with_quotes": "quoting values of printed commands (commands.py)",
    "hydra.core.config_loader.ConfigLoader.load_sweep_config": "the config of a job before it runs (sweep_checks.py)",
}
