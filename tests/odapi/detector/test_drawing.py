import numpy as np
import pytest

from odapi.detector.drawing import class_colour, draw_detections

GREY = np.full((60, 90, 3), 128, np.uint8)


def painted(picture, label):
    """Where `picture` shows the colour of `label`, bool [H, W]."""
    return (picture == class_colour(label)).all(axis=2)


def test_box_is_drawn_where_it_is():
    picture = draw_detections(GREY, np.array([[30, 20, 50, 70]]), ["cat"], least_side=60)
    assert picture.shape == GREY.shape
    rows, columns = np.nonzero(painted(picture, "cat"))
    assert (rows.max(), columns.min(), columns.max()) == (50, 20, 70)
    assert painted(picture, "cat")[50, 20:71].all()
    assert not painted(picture, "cat")[35:45, 30:60].any()


def test_small_picture_is_enlarged_with_its_boxes():
    picture = draw_detections(GREY, np.array([[30, 20, 50, 70]]), ["cat"], least_side=100)
    assert picture.shape == (120, 180, 3)
    rows, columns = np.nonzero(painted(picture, "cat"))
    assert (rows.max(), columns.min(), columns.max()) == (100, 40, 140)


def test_input_is_left_alone_and_nothing_found_is_fine():
    before = GREY.copy()
    picture = draw_detections(GREY, np.zeros((0, 4)), [], [], least_side=60)
    np.testing.assert_array_equal(picture, GREY)
    np.testing.assert_array_equal(GREY, before)


def test_score_is_written():
    box = np.array([[30, 20, 50, 70]])
    without = draw_detections(GREY, box, ["cat"], least_side=60)
    with_score = draw_detections(GREY, box, ["cat"], [0.97], least_side=60)
    assert painted(with_score, "cat").sum() > painted(without, "cat").sum()


def test_box_beyond_the_border_is_drawn_up_to_it():
    picture = draw_detections(GREY, np.array([[-10, -10, 80, 120]]), ["cat"], least_side=60)
    cat = painted(picture, "cat")
    assert cat[:, 0].any()
    assert cat[59].all()


def test_surest_box_lies_on_top():
    box = np.array([[30, 20, 50, 70], [30, 20, 50, 70]])
    picture = draw_detections(GREY, box, ["cat", "dog"], [0.9, 0.2], least_side=60)
    assert painted(picture, "cat")[50, 20:71].all()
    assert not painted(picture, "dog")[50, 20:71].any()


def test_ten_digits_have_ten_colours():
    colours = np.array([class_colour(str(digit)) for digit in range(10)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(10, dtype=bool)].min() > 45


@pytest.mark.parametrize(
    ("image", "labels", "scores"),
    [
        (GREY.astype(np.float32), ["cat"], None),
        (GREY[..., 0], ["cat"], None),
        (GREY, [], None),
        (GREY, ["cat"], [0.1, 0.2]),
    ],
)
def test_arguments_that_disagree_are_refused(image, labels, scores):
    with pytest.raises(ValueError):
        draw_detections(image, np.array([[1, 2, 30, 40]]), labels, scores)


def test_a_note_changes_the_text_and_not_the_colour():
    image = np.full((200, 200, 3), 90, np.uint8)
    plain, noted = (
        draw_detections(image, np.array([[60, 40, 150, 120]]), ["cat"], notes=notes)
        for notes in (None, ["crowd"])
    )
    colour = np.array(class_colour("cat"))
    # The tag above the box is longer; the box is the same.
    top = 60 * plain.shape[0] // 200
    assert (noted[:top] == colour).all(2).sum() > (plain[:top] == colour).all(2).sum()
    np.testing.assert_array_equal(noted[top + 4 :], plain[top + 4 :])
