from .clustering import LabelSet as LabelSet
from .clustering import PseudoLabels as PseudoLabels
from .clustering import jaccard_distance as jaccard_distance
from .clustering import pseudo_labels as pseudo_labels
from .datasets import open_dataset as open_dataset
from .evaluation.metrics import rank_metrics as rank_metrics
from .evaluation.protocols import evaluate as evaluate
from .inference.embeddings import Embeddings as Embeddings
from .inference.embeddings import embed_folder as embed_folder
from .inference.trained_model import TrainedModel as TrainedModel
from .methods import METHODS as METHODS
from .runtime.errors import UserError as UserError

__version__: str
