"""The peer of tests.benchmarks.explanations. Runs with the peer's Python, which has explainerdashboard 0.5.8.

python explainerdashboard_peer.py train FOLDER       trains the model that both sides explain
python explainerdashboard_peer.py serve FOLDER PORT  serves it as its documentation shows
"""

import json
import sys
from pathlib import Path

import joblib
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.datasets import make_classification

ROWS, FEATURES, TREES, LEAVES = 10_000, 20, 300, 31


def train(folder: Path) -> None:
    """Train once; write the model for the peer (joblib) and for us (text), the rows and the truth."""
    matrix, truth = make_classification(n_samples=ROWS, n_features=FEATURES, n_informative=10, random_state=7)
    rows = pd.DataFrame(matrix, columns=[f"feature_{number:02d}" for number in range(FEATURES)])
    model = LGBMClassifier(n_estimators=TREES, num_leaves=LEAVES, random_state=7, n_jobs=1, verbose=-1)
    model.fit(rows, truth)
    joblib.dump(model, folder / "model.joblib")
    model.booster_.save_model(folder / "model.txt")
    rows.assign(truth=truth, score=model.predict_proba(rows)[:, 1]).to_csv(folder / "rows.csv", index=False)
    ranges = {name: [float(rows[name].min()), float(rows[name].max())] for name in rows}
    (folder / "ranges.json").write_text(json.dumps(ranges))


def serve(folder: Path, port: int) -> None:
    """Build the dashboard with its default tabs, without interactions, and serve it."""
    from explainerdashboard import ClassifierExplainer, ExplainerDashboard

    model = joblib.load(folder / "model.joblib")
    table = pd.read_csv(folder / "rows.csv")
    rows = table.drop(columns=["truth", "score"])
    rows.index = [f"row-{number}" for number in range(len(rows))]
    explainer = ClassifierExplainer(
        model, rows, pd.Series(table["truth"].to_numpy(), index=rows.index), model_output="logodds"
    )
    dashboard = ExplainerDashboard(explainer, shap_interaction=False)
    dashboard.run(port=port, host="127.0.0.1", use_waitress=True)


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]))
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
