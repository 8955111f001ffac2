"""One transform, in the pipelines of torchvision and of albumentations."""

from __future__ import annotations

import doctest
import importlib
import pickle
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image
from vision import torchvision

import lgs_cli
from lgs_cli.adapters.transforms import Clean

NEEDS_TORCH = "needs torch: pip install 'lgs-cli[torch]'"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()[60:140, 100:221].copy()


@pytest.fixture(scope="module")
def cleaned(photo) -> np.ndarray:
    return lgs_cli.clean(photo, threshold=0.05)


@pytest.fixture
def clean() -> Clean:
    return Clean("lgs", threshold=0.05)


@pytest.fixture(scope="module")
def vision():
    return torchvision("torchvision.transforms.v2")


@pytest.fixture(scope="module")
def tv_tensors(vision):
    return importlib.import_module("torchvision.tv_tensors")


def test_it_takes_a_sample_by_position(clean, photo, cleaned):
    np.testing.assert_array_equal(clean(photo), cleaned)
    np.testing.assert_array_equal(np.asarray(clean(Image.fromarray(photo))), cleaned)
    image, label = clean(photo, 7)
    assert label == 7
    np.testing.assert_array_equal(image, cleaned)
    mask = photo[..., 0].copy()
    image, same = clean((photo, mask))  # the first array is the image
    assert same is mask
    np.testing.assert_array_equal(image, cleaned)


def test_it_takes_a_sample_of_any_nesting(clean, photo, cleaned):
    sample_of = namedtuple("Sample", "image extra")
    mask = photo[..., 0].copy()
    picture = Image.fromarray(photo)
    sample = {"mask": mask, "both": [picture, sample_of(picture, (1, "a", None))]}
    out = clean(sample)
    assert out["mask"] is mask  # PIL images are there: no array is taken for one
    np.testing.assert_array_equal(np.asarray(out["both"][0]), cleaned)
    np.testing.assert_array_equal(np.asarray(out["both"][1].image), cleaned)
    assert out["both"][1].extra == (1, "a", None)
    assert sample["both"][0] is picture


def test_it_takes_a_sample_by_name(clean, photo, cleaned):
    mask = photo[..., 0].copy()
    out = clean(image=photo, mask=mask, bboxes=[(1, 2, 3, 4)], images=[photo, photo])
    np.testing.assert_array_equal(out["image"], cleaned)
    assert [np.array_equal(one, cleaned) for one in out["images"]] == [True, True]
    assert out["mask"] is mask
    assert out["bboxes"] == [(1, 2, 3, 4)]
    with pytest.raises(TypeError, match="not both"):
        clean(photo, mask=mask)


def test_it_can_be_pickled(clean, photo, cleaned):
    again = pickle.loads(pickle.dumps(clean))
    np.testing.assert_array_equal(again(photo), cleaned)
    assert repr(again) == repr(clean)
    assert "threshold=0.05" in repr(clean)


def test_a_wrong_method_is_told_when_it_is_made():
    with pytest.raises(ValueError, match="no method 'lsg'"):
        Clean("lsg")


class Photos:
    """A data set, as DataLoader takes it."""

    def __init__(self, image: np.ndarray, transform: Clean) -> None:
        self.image, self.transform = image, transform

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        return self.transform(self.image), index


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_workers_of_a_data_loader_run_it(clean, photo, cleaned, start):
    data = pytest.importorskip("torch.utils.data", reason=NEEDS_TORCH)
    loader = data.DataLoader(
        Photos(photo, clean), batch_size=2, num_workers=1, multiprocessing_context=start
    )
    batches = list(loader)
    assert [label.tolist() for _, label in batches] == [[0, 1], [2, 3]]
    np.testing.assert_array_equal(batches[1][0][1].numpy(), cleaned)


def test_it_goes_into_torchvision_s_compose(vision, tv_tensors, clean, photo, cleaned):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    expected = torch.from_numpy(cleaned).permute(2, 0, 1)
    pipeline = vision.Compose([vision.Identity(), clean, vision.ToDtype(torch.float32, scale=True)])
    out = pipeline(tv_tensors.Image(tensor))
    assert isinstance(out, tv_tensors.Image)
    assert torch.allclose(out, expected / 255)
    out, label = pipeline(tensor, torch.tensor(3))
    assert torch.allclose(out, expected / 255)
    assert label == 3
    out = vision.Compose([clean, vision.ToImage()])(Image.fromarray(photo))
    assert torch.equal(out, expected)


def test_it_leaves_torchvision_s_boxes_and_masks(vision, tv_tensors, clean, photo, cleaned):
    torch = pytest.importorskip("torch")
    boxes = tv_tensors.BoundingBoxes(
        [[1, 2, 30, 40]], format="XYXY", canvas_size=photo.shape[:2], dtype=torch.float32
    )
    mask = tv_tensors.Mask(torch.ones(80, 121, dtype=torch.uint8))
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    sample = {"label": torch.rand(3, 8, 8), "boxes": boxes, "mask": mask}
    out = vision.Compose([clean])({**sample, "image": tv_tensors.Image(tensor)})
    for name, value in sample.items():
        assert out[name] is value
    assert isinstance(out["image"], tv_tensors.Image)
    assert torch.equal(out["image"], torch.from_numpy(cleaned).permute(2, 0, 1))
    video = tv_tensors.Video(torch.stack([tensor, tensor]))
    out = clean(video)
    assert isinstance(out, tv_tensors.Video)
    assert torch.equal(out[1], torch.from_numpy(cleaned).permute(2, 0, 1))


@pytest.mark.filterwarnings("ignore")  # albumentations asks the network for its latest version
def test_it_goes_into_albumentations_compose(clean, photo, cleaned):
    albumentations = pytest.importorskip("albumentations", reason="needs albumentations")
    mask = (photo[..., 0] > 128).astype(np.uint8)
    pipeline = albumentations.Compose(
        [albumentations.HorizontalFlip(p=1), clean],
        bbox_params=albumentations.BboxParams("pascal_voc", label_fields=["labels"]),
        additional_targets={"second": "image"},
        strict=True,
    )
    flipped = photo[:, ::-1]
    out = pipeline(image=photo, second=photo, mask=mask, bboxes=[(10, 20, 30, 40)], labels=[1])
    expected = lgs_cli.clean(flipped, threshold=0.05)
    np.testing.assert_array_equal(out["image"], expected)
    np.testing.assert_array_equal(out["second"], expected)
    np.testing.assert_array_equal(out["mask"], mask[:, ::-1])
    np.testing.assert_allclose(out["bboxes"], [(121 - 30, 20, 121 - 10, 40)])
    assert list(out["labels"]) == [1]
    assert "threshold=0.05" in repr(pipeline)
    again = pickle.loads(pickle.dumps(pipeline))(image=photo, bboxes=[], labels=[])
    np.testing.assert_array_equal(again["image"], expected)
    one = albumentations.Compose([albumentations.OneOf([clean], p=1)])(image=photo)
    np.testing.assert_array_equal(one["image"], cleaned)


def test_the_examples_are_true():
    found = doctest.testmod(importlib.import_module("lgs_cli.adapters.transforms"))
    assert found.attempted > 0
    assert found.failed == 0
