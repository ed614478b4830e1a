-- Sonoscope store, schema version 6. One database file = one immutable generation.
-- Words: see docs/glossary.md. NULL always means "undefined or not computed", and a `reason` column says why.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
-- keys: schema_version, generation, created_at, corpus_id, corpus_name, dataset_kind, dataset_note, label_name (the
-- primary label's display name), group_name, is_synthetic ('true'/'false'), demo_note

CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, started_at TEXT, finished_at TEXT, preset TEXT, command TEXT,
    config_json TEXT, versions_json TEXT, hardware_json TEXT, n_clips INTEGER, summary TEXT);
CREATE TABLE run_timings (run_id TEXT, stage TEXT, seconds DOUBLE, n_done INTEGER, n_reused INTEGER);

CREATE TABLE encoders (
    encoder_id TEXT PRIMARY KEY,            -- name + '-' + 8 hex digits of the fingerprint
    name TEXT, display_name TEXT,           -- 'hubert', 'HuBERT'
    family TEXT,                            -- transformers model_type: audio-spectrogram-transformer, wavlm, hubert, mert_model
    source TEXT, revision TEXT, loader TEXT, -- hub id or folder name; loader: 'own class' or 'paper'
    fingerprint TEXT, weights_sha256 TEXT, preprocessor_sha256 TEXT,
    sample_rate_hz INTEGER, frame_rate_hz DOUBLE, n_layers INTEGER, d_model INTEGER,   -- layers 0..n_layers
    is_trained BOOLEAN,                     -- false: random weights, said wherever its numbers appear; NULL: unknown
    is_published BOOLEAN,                   -- false: made elsewhere than the published model of that name, said as well; NULL: not said
    licence TEXT, note TEXT);

CREATE TABLE files (
    file_id TEXT PRIMARY KEY, path TEXT,    -- relative to the data-set root, as found
    sha256 TEXT, sample_rate_hz INTEGER, n_channels INTEGER, duration_s DOUBLE, encoding TEXT, note TEXT);
CREATE TABLE skipped_files (path TEXT, reason TEXT, kind TEXT);   -- kind: 'not audio' (not taken) or 'rejected' (refused)

CREATE TABLE clips (
    clip_index INTEGER PRIMARY KEY,         -- 0..n-1; the index used in the parquet files
    clip_id TEXT UNIQUE,                    -- stable across generations; used in links
    file_id TEXT, start_s DOUBLE, duration_s DOUBLE,
    title TEXT,                             -- short text for people: 'f1 · arpeggios · vibrato · a'
    label TEXT,                             -- the primary label, NULL where there is none
    group_id TEXT,                          -- what never crosses a split (singer, speaker, fold, else the file)
    split TEXT,                             -- 'train' or 'held-out': the one outer split, by group
    paper_split TEXT,                       -- 'train', 'valid', 'test' of preset paper, NULL where it is not used
    fold_all INTEGER,                       -- folds over all groups: each is scored by what was fitted without it
    fold_group INTEGER,                     -- 0..4 inside train: folds by group; NULL when held out
    fold_random INTEGER,                    -- 0..4 inside train: folds by file; NULL when held out
    peak DOUBLE, rms DOUBLE, is_silent BOOLEAN,
    is_playable BOOLEAN,                    -- in the fixed playable set: any feature's trace can be computed
    preview TEXT);                          -- path of the mono preview inside the store folder
CREATE TABLE clip_columns (clip_index INTEGER, role TEXT, name TEXT, value TEXT);
-- role: 'label', 'group' or 'attribute'; name is the display name (technique, singer, vowel, ...)

CREATE TABLE factors (
    factor_index INTEGER PRIMARY KEY, name TEXT, display_name TEXT, unit TEXT,
    factor_group TEXT,                      -- pitch, formants, quality, loudness, rhythm, spectral, mfcc: the 88 acoustic factors;
                                            -- 'column', 'planted': other measures, named 'column.age', 'planted.f0_st'
    paper_group TEXT, description TEXT);
CREATE TABLE factor_values (clip_index INTEGER, factor_index INTEGER, value DOUBLE, reason TEXT);

CREATE TABLE representations (              -- what probes and Lasso predict from
    representation_id TEXT PRIMARY KEY,     -- sae_id, or encoder_id + '.L' + layer for dense pooled states, or 'attribute.NAME'
    kind TEXT,                              -- 'codes', 'dense', 'attribute'; 'with giants' or 'without giants': pooled the other way
    encoder_id TEXT, layer INTEGER, n_dims INTEGER);

CREATE TABLE probes (
    probe_id TEXT PRIMARY KEY, representation_id TEXT, label_name TEXT,
    protocol TEXT,                          -- 'held-out', 'all-groups', 'group-folds', 'random-folds', 'paper'
    seed INTEGER, accuracy DOUBLE,
    balanced_accuracy DOUBLE, macro_f1 DOUBLE,   -- means over the classes that were scored
    chance DOUBLE,                          -- accuracy of one constant guess: of the scored classes the one commonest in what was fitted on
    n_clips INTEGER, n_groups INTEGER, n_classes INTEGER, c DOUBLE,
    ci_low DOUBLE, ci_high DOUBLE,          -- 95 % interval of accuracy over groups, inside 0..1; NULL under 8 groups
    is_sae_blind BOOLEAN,                   -- false: the SAE was fitted on sound (never labels) of these groups; NULL for dense and attributes
    reason TEXT);
CREATE TABLE probe_classes (probe_id TEXT, class TEXT, recall DOUBLE, precision_ DOUBLE, f1 DOUBLE, n INTEGER, reason TEXT);
CREATE TABLE probe_confusion (probe_id TEXT, true_class TEXT, predicted_class TEXT, n INTEGER);
CREATE TABLE probe_groups (probe_id TEXT, group_id TEXT, accuracy DOUBLE, n INTEGER, chance DOUBLE);   -- chance: of the same constant guess
CREATE TABLE probe_predictions (probe_id TEXT, clip_index INTEGER, predicted_class TEXT);   -- of scored clips; folds: out of fold
CREATE TABLE probe_weights (probe_id TEXT, class TEXT, intercept DOUBLE, weights FLOAT[]);   -- 'held-out' and 'paper'; on (x - center) / scale
CREATE TABLE probe_scalers (probe_id TEXT PRIMARY KEY, center FLOAT[], scale FLOAT[]);

CREATE TABLE layer_choices (encoder_id TEXT, layer INTEGER, is_chosen BOOLEAN, role TEXT, score DOUBLE, reason TEXT, run_id TEXT);

CREATE TABLE layer_frames (                 -- frames of valid sound; giant: see docs/measures.md
    encoder_id TEXT, layer INTEGER, n_frames BIGINT, n_giant BIGINT, n_clips INTEGER, n_clips_with INTEGER,
    variance_share DOUBLE, variance_share_train DOUBLE,        -- of the squared distances from the middle, what giant frames hold
    top_dimension INTEGER, top_dimension_share DOUBLE,         -- the dimension that holds most of them, over all frames
    median_distance DOUBLE, center FLOAT[]);                   -- of the frames looked at: some of the training clips
CREATE TABLE giant_spans (encoder_id TEXT, layer INTEGER, clip_index INTEGER, start_s DOUBLE, end_s DOUBLE);

CREATE TABLE saes (
    sae_id TEXT PRIMARY KEY, encoder_id TEXT, layer INTEGER, level TEXT, pooling TEXT,
    n_features INTEGER, d_model INTEGER, k INTEGER, sparsity DOUBLE,   -- nominal: 1 - k / n_features
    method TEXT,                            -- 'sound' or 'paper'
    protocol TEXT,                          -- 'held-out' or 'paper': whose training part it was fitted on
    seed INTEGER, is_reference BOOLEAN,     -- the one SAE shown first for its encoder and layer
    run_id TEXT, n_train_clips INTEGER, n_epochs INTEGER,      -- n_epochs: the most that were allowed
    n_epochs_trained INTEGER, epochs_reason TEXT,              -- after which its training ended, and why; NULL: 'paper', and before
    train_seconds DOUBLE,
    mse_train DOUBLE, mse_heldout DOUBLE, fvu_train DOUBLE, fvu_heldout DOUBLE,
    pca_k_fvu_heldout DOUBLE, pca_live_fvu_heldout DOUBLE, pca_k_n INTEGER, pca_live_n INTEGER,
    fvu_train_other DOUBLE, fvu_heldout_other DOUBLE,          -- of states pooled the other way, with giant frames or without; NULL where there are none
    l0_mean DOUBLE, n_live INTEGER, n_dead INTEGER, n_dense INTEGER, dense_mass DOUBLE,
    informativeness DOUBLE, informativeness_fixed DOUBLE,      -- mean held-out R2: top 10 by r2_folds; the fixed 10
    completeness DOUBLE, completeness_fixed DOUBLE, completeness_d INTEGER,
    effective_codes DOUBLE, effective_codes_fixed DOUBLE,
    disentanglement DOUBLE, n_predicted INTEGER,               -- over the n_predicted factors predicted; NULL under 2
    disentanglement_fixed DOUBLE, effective_factors_fixed DOUBLE,   -- over the fixed 10, which SAEs share
    share_returning DOUBLE, returns_above_r DOUBLE,            -- of features that vary, those that most other seeds have too
    weights_file TEXT, codes_by_feature_file TEXT, codes_by_clip_file TEXT, traces_file TEXT);
CREATE TABLE sae_group_errors (              -- of scored clips: squared error of the SAE and of PCA with k components,
    sae_id TEXT, group_id TEXT, n_clips INTEGER, sse DOUBLE, sse_pca_k DOUBLE, sst DOUBLE);   -- squared deviation from the training mean
CREATE TABLE sae_curves (sae_id TEXT, epoch INTEGER, loss DOUBLE, dead_fraction DOUBLE);   -- active on no training clip of that epoch
CREATE TABLE sae_lengths (                    -- where shorter trainings were tried: FVU of the clips of one fold of the training groups
    sae_id TEXT, n_epochs INTEGER, fold INTEGER, fvu DOUBLE);   -- after so many epochs on the clips of the other folds

CREATE TABLE features (
    sae_id TEXT, feature INTEGER, n_active INTEGER, density DOUBLE, mean_active DOUBLE, max_value DOUBLE,
    is_dead BOOLEAN,                        -- active on no training clip; held-out clips may activate it. live: not dead
    is_dense BOOLEAN, n_groups_active INTEGER,
    preactivation_mean DOUBLE,              -- corpus mean of w . x + b: traces are drawn relative to it
    map_x DOUBLE, map_y DOUBLE,             -- NULL for dead features, and where no map was made
    label_name TEXT, label TEXT, label_direction TEXT, label_threshold DOUBLE,
    label_mcc DOUBLE, label_f1 DOUBLE,      -- over all groups, out of fold; NULL where no clip has the label
    label_hits INTEGER, label_said INTEGER, label_there INTEGER, label_groups INTEGER,   -- what it stands on
    label_p DOUBLE,                         -- share of exchanged labels under which the best feature scores as high
    label_null_mcc DOUBLE,                  -- what MCC has to exceed for a p of 0.05; NULL where nothing can be tested
    label_is_shown BOOLEAN, label_reason TEXT,
    label_mcc_train DOUBLE,                 -- what the rule was chosen by
    label_precision DOUBLE, label_recall DOUBLE, label_f1_unseen DOUBLE,   -- of the rule on held-out clips
    label_unseen_hits INTEGER, label_unseen_said INTEGER, label_unseen_there INTEGER, label_unseen_groups INTEGER,
    disentanglement DOUBLE, effective_factors DOUBLE, best_factor TEXT, best_factor_weight DOUBLE,
    stability DOUBLE, stability_cosine DOUBLE,     -- mean over the other seeds: held-out r and decoder cosine of its partner
    n_returns INTEGER, stability_n_seeds INTEGER,  -- in how many of the other seeds it returns: r above returns_above_r
    PRIMARY KEY (sae_id, feature));
CREATE TABLE feature_histograms (sae_id TEXT, feature INTEGER, n_zero INTEGER, edges FLOAT[], counts INTEGER[], quantiles FLOAT[]);
-- quantiles: 101 values, 0..100 % of the non-zero activations over all clips
CREATE TABLE feature_attribute_shares (sae_id TEXT, feature INTEGER, column_name TEXT, share DOUBLE);  -- eta squared of activation
CREATE TABLE feature_label_counts (sae_id TEXT, feature INTEGER, label TEXT, n_active INTEGER, n_clips INTEGER, mean_value DOUBLE);
CREATE TABLE label_nulls (                  -- what the best of all features reaches by chance, for p values over many SAEs
    sae_id TEXT, label_name TEXT, labels TEXT[], level TEXT, alpha DOUBLE, is_exact BOOLEAN,
    reached DOUBLE[]);                      -- MCC under each permutation, the same ones in every SAE of the corpus
CREATE TABLE feature_neighbours (sae_id TEXT, feature INTEGER, kind TEXT, rank INTEGER, other INTEGER, value DOUBLE);
-- kind: 'decoder' (cosine), 'lift' (co-activation lift)
CREATE TABLE feature_matches (sae_id TEXT, feature INTEGER, other_sae_id TEXT, other_feature INTEGER, rank INTEGER,
    r_train DOUBLE, r_heldout DOUBLE, kind TEXT);            -- kind: 'encoder' (another encoder or layer) or 'seed'
CREATE TABLE listed_clips (
    sae_id TEXT, feature INTEGER, kind TEXT,     -- 'top', 'interval', 'random'
    interval_low DOUBLE, interval_high DOUBLE,   -- of the activation, for kind 'interval'
    rank INTEGER, clip_index INTEGER,
    value DOUBLE,                                -- the activation (0 when not active)
    preactivation DOUBLE, kth_value DOUBLE,      -- kth_value: the smallest activation that made the clip's top k
    is_active BOOLEAN);
-- traces (parquet, by feature): feature, clip_index, n_points, t0_s, hop_s, low, step, padded_share, points (BLOB of uint8):
-- value = low + step * point, in units of the pre-activation
-- codes_by_feature / codes_by_clip (parquet): clip_index, feature, value; of an SAE of frames also frame, so that a clip and
-- feature have several rows, of which the largest value is the clip's

CREATE TABLE factor_scores (
    representation_id TEXT, protocol TEXT, factor_index INTEGER, seed INTEGER,
    alpha DOUBLE, alpha_source TEXT,
    r2 DOUBLE, r2_within_group DOUBLE,      -- of the held-out groups ('paper': in-sample), over n_clips of n_groups
    r2_permuted DOUBLE,                     -- what r2 has to exceed for r2_p <= 0.05 ('paper': what refits to shuffled values reach)
    r2_train DOUBLE,
    r2_folds DOUBLE,                        -- over the folds of training groups: what choices among factors are made by
    r2_all DOUBLE, r2_all_within DOUBLE, n_all_clips INTEGER, n_all_groups INTEGER,   -- out of fold, over all groups
    r2_p DOUBLE,                            -- of r2, corrected for all factors (or columns, or planted values) of this representation
    tested_by TEXT,                         -- what was exchanged: 'clips within groups', 'whole groups', 'clips'
    untested TEXT,                          -- why there is no r2_p: 'cannot be tested: ...'
    is_predicted BOOLEAN,                   -- r2_p <= 0.05 and R2 of 0.05 at least; NULL for 'paper' and in older artefacts
    transform TEXT,                         -- 'ranked: ...': R2 is of normal scores of ranks; NULL: of clipped values
    n_train INTEGER, n_clips INTEGER, n_groups INTEGER, n_weights INTEGER,
    completeness DOUBLE, completeness_d INTEGER, effective_codes DOUBLE, n_codes_90 INTEGER,
    is_fixed_set BOOLEAN,                   -- one of the 10 factors best predicted from dense states, by r2_folds
    reason TEXT);
CREATE TABLE lasso_weights (representation_id TEXT, protocol TEXT, factor_index INTEGER, dim INTEGER, weight DOUBLE);
-- weights act on standardised codes and predict standardised factors
CREATE TABLE lasso_models (representation_id TEXT, protocol TEXT, factor_index INTEGER, intercept DOUBLE,
    y_mean DOUBLE, y_scale DOUBLE, clip_low DOUBLE, clip_high DOUBLE,
    knots FLOAT[]);                         -- ranked factors: values at evenly spaced shares of the fitting clips, 0 to 1
CREATE TABLE lasso_scalers (representation_id TEXT, protocol TEXT, x_mean FLOAT[], x_scale FLOAT[]);
CREATE TABLE factor_predictions (representation_id TEXT, protocol TEXT, factor_index INTEGER, clip_index INTEGER, measured DOUBLE, predicted DOUBLE);

-- Generated corpora only: what was planted in each clip, and how well it is recovered on held-out groups.
CREATE TABLE planted_parameters (
    name TEXT PRIMARY KEY, display_name TEXT, unit TEXT, kind TEXT,   -- kind: 'number' or 'category'
    description TEXT, is_nuisance BOOLEAN);                           -- of the recording, independent of everything else
CREATE TABLE planted_values (clip_index INTEGER, parameter TEXT, value DOUBLE, word TEXT);
CREATE TABLE planted_scores (
    encoder_id TEXT, layer INTEGER,         -- NULL for kind 'factors'
    representation_id TEXT,
    kind TEXT,                              -- 'dense', 'lasso' (an SAE's codes), 'feature' (its best one), 'factors'
    parameter TEXT, score DOUBLE,
    score_kind TEXT,                        -- 'r2' (numbers), 'accuracy' (categories), 'mcc' (categories by one feature each)
    control DOUBLE,                         -- what chance reaches by the same steps
    told DOUBLE,                            -- R2 of knowing only technique and exercise; NULL for categories
    n_train INTEGER, n_clips INTEGER, n_groups INTEGER, n_weights INTEGER,
    feature INTEGER, direction TEXT,        -- kind 'feature'; a category: its clearest value and that value's feature
    is_found BOOLEAN,                       -- (score - chance) / (1 - chance) >= 0.25
    is_beyond BOOLEAN,                      -- found, and the same with `told` in chance's place
    in_teacher BOOLEAN,                     -- the encoder's training targets were made to follow it
    reason TEXT);
CREATE TABLE pca_baselines (encoder_id TEXT, layer INTEGER, n_components INTEGER, fvu_train DOUBLE, fvu_heldout DOUBLE);
CREATE TABLE diagnostics (run_id TEXT, encoder_id TEXT, layer INTEGER, sae_id TEXT, code TEXT, severity TEXT,
    value DOUBLE, limit_ DOUBLE, message TEXT);              -- severity: 'ok', 'note', 'warning'
CREATE TABLE generation_files (path TEXT PRIMARY KEY, kind TEXT, n_bytes BIGINT, sha256 TEXT);
