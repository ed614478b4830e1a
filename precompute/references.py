"""The one SAE that is shown first for its encoder, layer and protocol, over all runs of a store: the latest run's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explorer.errors import StoreError
from explorer.store.names import is_content_name, shown
from precompute.artefacts import Artefacts, Bundle
from precompute.match_stage import Dictionary
from precompute.sae_stage import CODES_STAGE, codes_name

Place = tuple[str, int, str]  # encoder_id, layer, protocol


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference SAE of a run: its row of `saes`, and the bundle of its analysis."""

    sae: Mapping[str, Any]
    bundle: Bundle

    @property
    def sae_id(self) -> str:
        return str(self.sae["sae_id"])

    @property
    def place(self) -> Place:
        return self.sae["encoder_id"], int(self.sae["layer"]), self.sae["protocol"]


def current_references(artefacts: Artefacts, records: Iterable[Mapping[str, Any]]) -> dict[Place, Reference]:
    """The reference SAE of every place, given the records of runs, oldest first; a later run's takes an earlier one's.

    Raises StoreError when a bundle that a run stands on is gone or damaged.
    """
    found: dict[Place, Reference] = {}
    for record in records:
        for stage, key in record["bundles"]:
            if stage != CODES_STAGE:
                continue
            bundle = artefacts.get(stage, key, takes_unsealed=record.get("is_sealed") is not True)
            for row in bundle.table("saes").to_dict("records"):
                if row["is_reference"]:
                    reference = Reference(row, bundle)
                    found[reference.place] = reference
    return found


def mark_references(saes: pd.DataFrame, references: Mapping[Place, Reference]) -> pd.DataFrame:
    """`saes` with `is_reference` true for the current references alone."""
    return saes.assign(is_reference=saes["sae_id"].isin({item.sae_id for item in references.values()}))


def load_dictionary(reference: Reference, n_clips: int) -> Dictionary:
    """A reference SAE with its codes over the corpus of `n_clips` clips, as its analysis left them."""
    sae = reference.sae
    name = codes_name("clip", reference.sae_id, reference.bundle.folder.name)
    if not is_content_name(name):
        raise StoreError(f"{reference.bundle.folder} names its SAE {shown(reference.sae_id)}, which is no name of one.")
    codes = pd.read_parquet(reference.bundle.path(name))
    codes_cf = np.zeros((n_clips, int(sae["n_features"])), dtype=np.float32)
    codes_cf[codes["clip_index"].to_numpy(), codes["feature"].to_numpy()] = codes["value"].to_numpy()
    return Dictionary(
        reference.sae_id, sae["encoder_id"], int(sae["layer"]), float(sae["sparsity"]), int(sae["seed"]), True, codes_cf
    )


def dictionaries_of_other_runs(
    artefacts: Artefacts, records: Iterable[Mapping[str, Any]], *, run_id: str, protocol: str, n_clips: int
) -> list[Dictionary]:
    """The current references of all runs but this one, under this one's protocol."""
    others = current_references(artefacts, [record for record in records if record["run_id"] != run_id])
    return [load_dictionary(item, n_clips) for place, item in others.items() if place[2] == protocol]
