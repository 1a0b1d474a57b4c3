import os

import torchgate


class Once(torchgate.Model):
    """Dies of a marked number."""

    def predict(self, batch):
        if (batch.inputs["number"] == -666).any():
            os._exit(7)
        return {"double": batch.inputs["number"] * 2 + 1, "owner": [one.key for one in batch.principals]}
