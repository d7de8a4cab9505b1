from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="sdcl",
    version="0.1.0",
    description="Unsupervised visible-infrared person re-identification: SDCL and its family, exact and reproducible",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["sdcl", "sdcl.*"]),
    package_data={"sdcl": ["assets/*"]},
    install_requires=[
        "torch>=2.6",
        "torchvision",
        "timm>=1.0.9",  # Block with fused attention, DropPath
        "numpy",
        "scipy",  # sparse matrices of the Jaccard distance; rand_perm_cam.mat. scikit-learn brings it along anyway
        "scikit-learn",
        "numba",  # compiled loops of clustering and ranking on a host: 5 to 30 times as fast as NumPy and SciPy could do them
        "Pillow",
        "tqdm",
        "matplotlib",  # report.html, written at the end of a run
        "markupsafe",  # its text is escaped; torch brings it along anyway
        "safetensors",  # weight files that cannot run code; timm brings it along anyway
    ],
    extras_require={
        "faiss": ["faiss-cpu"],
        "faiss-gpu": ["faiss-gpu-cu12"],
        "tensorboard": ["tensorboard"],
        "export": ["onnx", "onnxscript", "onnxruntime"],  # PyTorch's exporter needs onnxscript; the graph is checked in onnxruntime
        "wandb": ["wandb"],
        "umap": ["umap-learn"],  # another embedding plot in the report
        "test": ["pytest", "hypothesis", "ruff", "tensorboard", "onnx", "onnxscript", "onnxruntime"],
    },
)
