import torchgate


class Broken(torchgate.Model):
    """Never loads."""

    def load(self, context):
        (context.folder / "weights.safetensors").read_bytes()

    def predict(self, batch):
        return {"double": batch.inputs["number"]}
