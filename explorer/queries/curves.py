"""Rows behind the Layers and Sparsity pages: probe scores by layer, scores and reconstruction by sparsity.

Every function returns a DataFrame whose rows carry their own n, protocol and seed. NULL stays NaN/None.
"""

from __future__ import annotations

import pandas as pd

from explorer.queries.factors import acoustic, predicted
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store

PROTOCOLS = ("all-groups", "held-out", "group-folds", "random-folds", "paper")
FACTOR_PROTOCOLS = ("held-out", "paper")
PROTOCOL_WORDS = {
    "all-groups": "every group scored by what was fitted without it; only the probe's C was chosen on training groups",
    "held-out": "fitted on training groups, scored on groups nothing was fitted on",
    "group-folds": "out-of-fold by group inside the training part; layers are chosen on this",
    "random-folds": "out-of-fold by file inside the training part; groups are on both sides, so it flatters",
    "paper": "the published split: random 80/20 by file of the training groups, the corpus's own test groups",
}

_PROBE_COLUMNS = """
    p.probe_id, p.representation_id, p.label_name, p.protocol, p.seed, p.accuracy, p.balanced_accuracy, p.macro_f1,
    p.chance, p.n_clips, p.n_groups, p.n_classes, p.c, p.ci_low, p.ci_high, p.is_sae_blind, p.reason
"""


def fetch_probe_choices(store: Store) -> pd.DataFrame:
    """What probes there are: label_name, protocol, kind ('dense', 'codes', 'attribute'), n_probes, n_scored; sorted."""
    return store.query(
        """SELECT p.label_name, p.protocol, r.kind, count(*)::INTEGER AS n_probes,
                  count(p.accuracy)::INTEGER AS n_scored
           FROM probes p JOIN representations r USING (representation_id)
           GROUP BY ALL ORDER BY p.label_name, p.protocol, r.kind"""
    )


def fetch_layer_probes(store: Store, label_name: str, protocol: str) -> pd.DataFrame:
    """One row per dense probe (encoder, layer, seed): scores, chance, n, interval, and is_chosen with its reason."""
    return store.query(
        f"""WITH chosen AS (
                SELECT encoder_id, layer, bool_or(is_chosen) AS is_chosen,
                       string_agg(DISTINCT role, ', ') FILTER (is_chosen) AS role,
                       string_agg(DISTINCT reason, '; ') FILTER (is_chosen) AS choice_reason
                FROM layer_choices GROUP BY encoder_id, layer)
            SELECT e.encoder_id, e.name, e.display_name, e.is_trained, r.layer, {_PROBE_COLUMNS},
                   coalesce(chosen.is_chosen, false) AS is_chosen, chosen.role, chosen.choice_reason
            FROM probes p JOIN representations r USING (representation_id) JOIN {NAMED_ENCODERS} e USING (encoder_id)
            LEFT JOIN chosen ON chosen.encoder_id = e.encoder_id AND chosen.layer = r.layer
            WHERE r.kind = 'dense' AND p.label_name = $label AND p.protocol = $protocol
            ORDER BY e.display_name, e.encoder_id, r.layer, p.seed""",  # noqa: S608 - the columns are code
        {"label": label_name, "protocol": protocol},
    )


def fetch_layer_probe_groups(store: Store, label_name: str, protocol: str) -> pd.DataFrame:
    """One row per dense probe and group: as `fetch_probe_groups`."""
    return fetch_probe_groups(store, label_name, protocol, "dense")


def fetch_probe_groups(store: Store, label_name: str, protocol: str, kind: str) -> pd.DataFrame:
    """One row per probe on representations of `kind` and group: its representation_id, encoder, layer and seed,
    probe_id, group_id, accuracy, n (clips), and chance: what one constant guess has there (where that is not stored, on
    all groups)."""
    return store.query(
        f"""SELECT p.probe_id, p.representation_id, e.encoder_id, e.name, e.display_name, e.is_trained, r.layer, p.seed,
                  p.n_classes, p.is_sae_blind, g.group_id, g.accuracy, g.n, coalesce(g.chance, p.chance) AS chance
           FROM probe_groups g JOIN probes p USING (probe_id) JOIN representations r USING (representation_id)
           JOIN {NAMED_ENCODERS} e USING (encoder_id)
           WHERE r.kind = $kind AND p.label_name = $label AND p.protocol = $protocol
           ORDER BY e.display_name, e.encoder_id, r.layer, p.representation_id, p.seed, g.group_id""",  # noqa: S608 - the names are code
        {"label": label_name, "protocol": protocol, "kind": kind},
    )


def fetch_attribute_probes(store: Store, label_name: str, protocol: str) -> pd.DataFrame:
    """Probes that know one attribute only, the baseline an attribute that gives the label away would reach."""
    return store.query(
        f"""SELECT replace(p.representation_id, 'attribute.', '') AS attribute, {_PROBE_COLUMNS}
            FROM probes p JOIN representations r USING (representation_id)
            WHERE r.kind = 'attribute' AND p.label_name = $label AND p.protocol = $protocol
            ORDER BY attribute, p.seed""",  # noqa: S608 - the columns are code
        {"label": label_name, "protocol": protocol},
    )


def fetch_probe(store: Store, probe_id: str) -> pd.DataFrame:
    """The one probe with this id (0 or 1 rows), with its representation's kind, encoder and layer."""
    return store.query(
        f"""SELECT r.kind, r.encoder_id, r.layer, e.display_name, {_PROBE_COLUMNS}
            FROM probes p JOIN representations r USING (representation_id)
            LEFT JOIN {NAMED_ENCODERS} e USING (encoder_id)
            WHERE p.probe_id = $probe""",  # noqa: S608 - the columns are code
        {"probe": probe_id},
    )


def fetch_probe_classes(store: Store, probe_id: str) -> pd.DataFrame:
    """Per class of one probe: class, recall, precision, f1, n, reason (why a score is undefined)."""
    return store.query(
        """SELECT "class", recall, precision_ AS "precision", f1, n, reason FROM probe_classes
           WHERE probe_id = $probe ORDER BY "class" """,
        {"probe": probe_id},
    )


def fetch_probe_confusion(store: Store, probe_id: str) -> pd.DataFrame:
    """Counts of one probe: true_class, predicted_class, n; pairs that never happened may be absent."""
    return store.query(
        """SELECT true_class, predicted_class, n FROM probe_confusion
           WHERE probe_id = $probe ORDER BY true_class, predicted_class""",
        {"probe": probe_id},
    )


def fetch_confused(store: Store, probe_id: str, true_class: str, predicted_class: str, limit: int = 12) -> pd.DataFrame:
    """Scored clips of `true_class` that this probe called `predicted_class`, in turn from every group.

    clip_index, clip_id, title, group_id, split, duration_s; n_all and n_groups (of all such clips) in every row.
    """
    return store.query(
        f"""WITH said AS (
               SELECT c.clip_index, c.clip_id, c.title, c.group_id, c.split, c.duration_s,
                      row_number() OVER (PARTITION BY c.group_id ORDER BY c.clip_index) AS turn
               FROM probe_predictions s JOIN probes p USING (probe_id) JOIN clips c USING (clip_index)
               JOIN clip_columns v ON v.clip_index = c.clip_index AND v.role = 'label' AND v.name = p.label_name
               WHERE s.probe_id = $probe AND v.value = $true AND s.predicted_class = $said)
           SELECT * EXCLUDE (turn), count(*) OVER ()::INTEGER AS n_all,
                  (SELECT count(DISTINCT group_id) FROM said)::INTEGER AS n_groups
           FROM said ORDER BY turn, group_id LIMIT {int(limit)}""",  # noqa: S608 - a whole number
        {"probe": probe_id, "true": true_class, "said": predicted_class},
    )


def fetch_dense_factor_groups(store: Store, protocol: str) -> pd.DataFrame:
    """Dense states' R2 by encoder, layer and factor group: median and best over its factors, and how many count.

    Each other measure (is_extra) is a group of its own, under its own name.

    n_scored factors have an R2; n_undefined have none (their reasons are on the Factors page); n_above are predicted.
    best_name is the best factor's name; sae_id the reference SAE of that layer, NULL where there is none.
    """
    return store.query(
        f"""SELECT e.encoder_id, e.name, e.display_name, r.layer, NOT {acoustic("f")} AS is_extra,
                  CASE WHEN {acoustic("f")} THEN f.factor_group ELSE f.display_name END AS factor_group,
                  median(s.r2) AS r2_median, max(s.r2) AS r2_best, arg_max(f.display_name, s.r2) AS best_factor,
                  arg_max(f.name, s.r2) AS best_name,
                  any_value((SELECT min(a.sae_id) FROM saes a WHERE a.encoder_id = r.encoder_id AND a.layer = r.layer
                             AND a.is_reference)) AS sae_id,
                  count(s.r2)::INTEGER AS n_scored, count(*) FILTER (s.r2 IS NULL)::INTEGER AS n_undefined,
                  count(*) FILTER ({predicted("s")})::INTEGER AS n_above,
                  max(s.n_clips) AS n_clips, max(s.n_groups) AS n_groups
           FROM factor_scores s JOIN representations r USING (representation_id)
           JOIN {NAMED_ENCODERS} e USING (encoder_id) JOIN factors f USING (factor_index)
           WHERE r.kind = 'dense' AND s.protocol = $protocol
           GROUP BY ALL ORDER BY e.display_name, e.encoder_id, r.layer, is_extra, factor_group""",  # noqa: S608 - the names are code
        {"protocol": protocol},
    )


def fetch_codes_protocols(store: Store, label_name: str) -> pd.DataFrame:
    """The protocols under which probes on codes have scores for this label: protocol, n_groups (the most of any)."""
    return store.query(
        """SELECT p.protocol, coalesce(max(p.n_groups), 0)::INTEGER AS n_groups
           FROM probes p JOIN representations r USING (representation_id)
           WHERE r.kind = 'codes' AND p.label_name = $label AND p.accuracy IS NOT NULL
           GROUP BY p.protocol ORDER BY p.protocol""",
        {"label": label_name},
    )


def fetch_sae_points(store: Store, label_name: str | None, probed: str | None = None) -> pd.DataFrame:
    """One row per SAE: its settings, reconstruction, density, factor measures, and its probe beside the dense one.

    accuracy, chance and probe_* come from the probe on its codes under the protocol `probed`, or the SAE's own where
    that is None or the SAE's is not held-out; dense_accuracy and dense_balanced_accuracy from the pooled states of the
    same layer, label and protocol. probe_is_blind: whether its codes are of SAEs that never saw the groups they are
    scored on. label_name None gives no probe columns' values. run_started_at is of the SAE's run.
    """
    return store.query(
        f"""WITH sae AS (
               SELECT *, CASE WHEN protocol = 'held-out' THEN coalesce($probed::TEXT, protocol) ELSE protocol END
                         AS probe_protocol FROM saes),
           codes AS (
               SELECT representation_id, protocol, any_value(probe_id ORDER BY seed) AS probe_id,
                      bool_and(is_sae_blind) AS probe_is_blind,
                      avg(accuracy) AS accuracy, avg(balanced_accuracy) AS balanced_accuracy, avg(macro_f1) AS macro_f1,
                      any_value(chance) AS chance, any_value(n_clips) AS probe_n_clips,
                      any_value(n_groups) AS probe_n_groups, any_value(ci_low ORDER BY seed) AS ci_low,
                      any_value(ci_high ORDER BY seed) AS ci_high, any_value(reason) AS probe_reason
               FROM probes WHERE label_name = $label GROUP BY representation_id, protocol),
           dense AS (
               SELECT r.encoder_id, r.layer, p.protocol, avg(p.accuracy) AS dense_accuracy,
                      avg(p.balanced_accuracy) AS dense_balanced_accuracy, avg(p.macro_f1) AS dense_macro_f1
               FROM probes p JOIN representations r USING (representation_id)
               WHERE r.kind = 'dense' AND p.label_name = $label GROUP BY ALL)
           SELECT s.* EXCLUDE (weights_file, codes_by_feature_file, codes_by_clip_file, traces_file),
                  e.name, e.display_name, e.is_trained, u.started_at AS run_started_at,
                  c.* EXCLUDE (representation_id, protocol),
                  (SELECT count(*) FROM clips WHERE CASE s.protocol WHEN 'paper' THEN paper_split = 'test'
                                                    ELSE split = 'held-out' END)::INTEGER AS n_heldout_clips,
                  d.dense_accuracy, d.dense_balanced_accuracy, d.dense_macro_f1
           FROM sae s JOIN {NAMED_ENCODERS} e USING (encoder_id)
           LEFT JOIN runs u ON u.run_id = s.run_id
           LEFT JOIN codes c ON c.representation_id = s.sae_id AND c.protocol = s.probe_protocol
           LEFT JOIN dense d ON d.encoder_id = s.encoder_id AND d.layer = s.layer AND d.protocol = s.probe_protocol
           ORDER BY e.display_name, s.encoder_id, s.layer, s.method, s.n_features, s.n_epochs, s.sparsity, s.seed""",  # noqa: S608 - the names are code
        {"label": label_name, "probed": probed},
    )


def fetch_dense_factor_means(store: Store) -> pd.DataFrame:
    """Per encoder, layer and protocol, dense states beside the SAEs: D, and means over the fixed 10 and the top 10.

    The top 10 are those with the highest R2 over folds of the training groups; completeness averages leave out
    undefined factors.
    """
    return store.query(
        f"""WITH ranked AS (
               SELECT r.encoder_id, r.layer, r.n_dims, s.*, row_number() OVER (
                          PARTITION BY s.representation_id, s.protocol
                          ORDER BY s.r2 IS NULL, coalesce(s.r2_folds, s.r2) DESC NULLS LAST) AS place
               FROM factor_scores s JOIN representations r USING (representation_id) JOIN factors f USING (factor_index)
               WHERE r.kind = 'dense' AND {acoustic("f")})
           SELECT encoder_id, layer, protocol, any_value(n_dims) AS n_dims,
                  avg(r2) FILTER (place <= 10) AS informativeness,
                  avg(r2) FILTER (is_fixed_set) AS informativeness_fixed,
                  avg(completeness) FILTER (place <= 10) AS completeness,
                  avg(effective_codes) FILTER (place <= 10) AS effective_codes,
                  avg(effective_codes) FILTER (is_fixed_set) AS effective_codes_fixed
           FROM ranked GROUP BY encoder_id, layer, protocol ORDER BY encoder_id, layer, protocol"""  # noqa: S608
    )


def fetch_group_errors(store: Store) -> pd.DataFrame:
    """Squared errors on scored clips by SAE and group: sae_id, group_id, n_clips, sse, sse_pca_k, sst."""
    return store.query(
        "SELECT sae_id, group_id, n_clips, sse, sse_pca_k, sst FROM sae_group_errors ORDER BY sae_id, group_id"
    )


def fetch_pca(store: Store) -> pd.DataFrame:
    """PCA controls: encoder_id, layer, n_components, fvu_train, fvu_heldout."""
    return store.query(
        """SELECT encoder_id, layer, n_components, fvu_train, fvu_heldout
           FROM pca_baselines ORDER BY encoder_id, layer, n_components"""
    )


def fetch_training_curves(store: Store, sae_id: str) -> pd.DataFrame:
    """Loss and dead fraction by epoch of one SAE's training."""
    return store.query(
        "SELECT epoch, loss, dead_fraction FROM sae_curves WHERE sae_id = $sae ORDER BY epoch", {"sae": sae_id}
    )


def fetch_lengths(store: Store, sae_id: str) -> pd.DataFrame:
    """FVU of the clips of a fold kept apart after each length of training tried for an SAE: n_epochs, fold, fvu."""
    return store.query(
        "SELECT n_epochs, fold, fvu FROM sae_lengths WHERE sae_id = $sae ORDER BY n_epochs, fold", {"sae": sae_id}
    )
