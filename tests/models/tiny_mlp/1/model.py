import torch

import torchgate


def network():
    """The same weights each time."""
    generator = torch.Generator().manual_seed(7)
    layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layers.eval()


class TinyMlp(torchgate.Model):
    """Two layers."""

    def load(self, context):
        self.network = network().to(context.device)

    def predict(self, batch):
        return {"y": self.network(batch.inputs["x"])}
