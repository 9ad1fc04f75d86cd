"""From a model's file to an engine. Only the library that the file needs is imported."""

from collections.abc import Sequence

from opsportal.explanations.engine.contributions import Engine, EngineError, Row
from opsportal.predictions.dictionary import FeatureDictionary

LIGHTGBM, XGBOOST, SKOPS = "lightgbm", "xgboost", "skops"


def load(
    *,
    format: str,
    content: bytes,
    dictionary: FeatureDictionary,
    background: Sequence[Row],
    trusted: Sequence[str],
) -> Engine:
    """The model in `content`, ready to explain.

    format: lightgbm, xgboost or skops. background: rows of training data; for skops alone, where a linear
    model is measured from their mean and an unknown one is explained against them. trusted: the types that
    a skops file may hold beside scikit-learn's own. Raises EngineError with sentences: the file is damaged,
    of another kind or holds types that nobody trusts, the dictionary does not fit, or nothing can explain it.
    """
    _refuse_code(content)
    if format == LIGHTGBM:
        from opsportal.explanations.engine.lightgbm_trees import LightGBMTrees  # noqa: PLC0415  seconds, 150 MB

        return LightGBMTrees(content, dictionary)
    if format == XGBOOST:
        from opsportal.explanations.engine.xgboost_trees import XGBoostTrees  # noqa: PLC0415  an optional extra

        return XGBoostTrees(content, dictionary)
    if format == SKOPS:
        from opsportal.explanations.engine.sklearn_models import load_skops  # noqa: PLC0415  seconds, 250 MB

        return load_skops(content, dictionary, background, trusted)
    raise EngineError(f"Nothing here reads the format “{format}”.")


def _refuse_code(content: bytes) -> None:
    """Raise for a pickle, whatever it is called: loading one runs whatever it says."""
    if not content:
        raise EngineError("The file is empty.")
    if content[0] == 0x80 and len(content) > 1 and content[1] <= 5:
        raise EngineError("The file is a Python pickle or joblib file. Those are programs and never loaded.")
