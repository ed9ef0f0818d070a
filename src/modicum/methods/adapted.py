"""Base classes of the methods that adapt or unfreeze a part of a frozen backbone and train it with a new head."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.parameter_groups import layerwise_groups
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone, Classifier, learnable_parameters, linear_head
from modicum.nn.adapted import AdaptedClassifier
from modicum.tasks.base import Batch


class AdaptedStage(SupervisedStage):
    """Minimises the task's loss over the learnable parameters of one network.

    Weight decay pulls matrices to zero; vectors (biases, norms, scales, gates), whose neutral value is not always
    zero, are not decayed.

    Args:
        network: the network, of which a part is trained.
        loss: the task's loss.
        layer_decay: factor on the learning rate from a layer to the one before it, see
            :func:`~modicum.methods.parameter_groups.layerwise_groups`.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, layer_decay: float = 1.0) -> None:
        super().__init__(loss)
        self.network = network
        self._layer_decay = layer_decay

    def parameter_groups(self) -> Sequence[Any]:
        if self._layer_decay < 1:
            assert isinstance(self.network, Classifier)
            return layerwise_groups(self.network, self._layer_decay, decay_vectors=False)
        learnable = list(learnable_parameters(self.network))
        matrices = [parameter for parameter in learnable if parameter.ndim > 1]
        vectors = [parameter for parameter in learnable if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class AdaptedMethod(Method):
    """A frozen backbone, the modules that :meth:`adapt` makes trainable in it, and a new linear head."""

    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone().requires_grad_(False)
        parts = list(self.adapt(backbone))
        self.network = self.classifier(backbone, self.head(backbone.num_features), parts)
        self._stage = self.stage()

    @abstractmethod
    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        """Changes a frozen backbone in place, so that the trained parameters require gradients.

        Returns:
            The modules in it that follow ``train()``.

        Raises:
            InputError: the method does not work with this backbone.
        """

    def head(self, num_features: int) -> nn.Module:
        """The new head."""
        return linear_head(num_features, self.context.task.num_outputs)

    def classifier(self, backbone: Backbone, head: nn.Module, parts: list[nn.Module]) -> AdaptedClassifier:
        """The network of backbone and head."""
        return AdaptedClassifier(backbone, head, parts)

    def stage(self) -> AdaptedStage:
        """The training stage of the network."""
        return AdaptedStage(self.network, self.context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self.network
