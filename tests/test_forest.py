"""The plan of the elimination: which factors form the chain, where everything stands, how much is stored."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import MANY, groups, named, random_model

from hierbayes.design import Factor
from hierbayes.forest import Cells, longest_chain, nested, plan
from hierbayes.kernel_tree import unpack
from hierbayes.moments import take_moments

WITH_FOREST = [name for name, design in MANY.items() if len(design.factors) > 1]
SEVERAL = pytest.mark.parametrize("name", WITH_FOREST)


def factors_of(*codes):
    return [Factor(f"f{k}", code, np.arange(code.max() + 1).astype(str)) for k, code in enumerate(codes)]


# --- the chain --------------------------------------------------------------------------------------


def test_of_crossed_factors_the_larger_is_eliminated_level_by_level():
    a, b = groups(0, 60, 12, 5)
    assert longest_chain(factors_of(a, b), [1, 1]) == [0]
    assert longest_chain(factors_of(b, a), [1, 1]) == [1]
    # what counts is the number of effects, not of levels
    assert longest_chain(factors_of(b, a), [3, 1]) == [0]


def test_nested_factors_form_a_chain_with_the_leaves_first():
    a, b, c = groups(0, 90, 4, 3, 2, nested=2)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]):
        codes = [(a, b, c)[k] for k in order]
        assert longest_chain(factors_of(*codes), [1, 1, 1]) == [order.index(k) for k in (2, 1, 0)]


def test_a_chain_counts_all_its_levels():
    """Two nested factors of 12 and 4 levels are left together for one of 15; one of 17 is better alone."""
    a, b = groups(0, 170, 4, 3, nested=1)
    for levels, chain in ((15, [1, 0]), (17, [2])):
        c = np.random.default_rng(1).permutation(np.arange(170) % levels)
        assert longest_chain(factors_of(a, b, c), [1, 1, 1]) == chain


def test_a_factor_may_be_nested_in_either_of_two():
    """Rows of cells of a x b: the cells are nested in both, and go with the one of more levels."""
    a, b = groups(0, 200, 8, 5)
    cell = np.unique(a * 5 + b, return_inverse=True)[1].ravel()
    assert longest_chain(factors_of(a, b, cell), [1, 1, 1]) == [2, 0]
    assert longest_chain(factors_of(b, cell, a), [1, 1, 1]) == [1, 2]


def test_the_same_groups_twice_are_a_chain():
    a = groups(0, 30, 6)[0]
    b = np.array([3, 0, 5, 1, 2, 4])[a]
    assert sorted(longest_chain(factors_of(a, b), [1, 1])) == [0, 1]


def test_what_nested_means():
    a, b = groups(0, 60, 5, 4, nested=1)
    assert nested(b, a)
    assert not nested(a, b)
    assert nested(a, a)
    c = groups(1, 60, 5)[0]
    assert not nested(a, c)
    assert not nested(c, a)


# --- the layout -------------------------------------------------------------------------------------


def forest_of(design):
    forest = take_moments(design).forest
    return forest, *unpack(forest.tree)


@SEVERAL
def test_every_level_is_eliminated_once(name):
    design = MANY[name]
    forest, shape, _, width, nodes, *_, levels = forest_of(design)
    counts = [len(design.factors[f].levels) for f in forest.order]
    assert sorted(forest.order) == list(range(len(design.factors)))
    chain, D, _, _, size, rest = shape
    for depth in range(chain):
        mine = nodes[nodes[:, 0] == depth]
        assert len(mine) == counts[depth]
        assert len(np.unique(mine[:, 3])) == counts[depth]
    assert set(nodes[:, 0]) == set(range(chain))
    assert len(levels) == sum(counts[chain:])
    assert len(np.unique(levels[:, 0])) == len(levels)
    assert sum(counts[f] * width[f] for f in range(chain, len(counts))) == D
    assert size == forest.size
    assert sum(counts[f] * width[f] for f in range(1, len(counts))) == rest == forest.rest_size


@SEVERAL
def test_leaves_come_in_the_order_of_their_levels_and_children_before_parents(name):
    design = MANY[name]
    forest, shape, _, _, nodes, ends, groups_, *_ = forest_of(design)
    # the first group of a node below the root is its parent, by the position of its effects
    place = {(depth, position): k for k, (depth, _, _, position, _) in enumerate(nodes)}
    for k, (depth, *_) in enumerate(nodes):
        if depth + 1 < shape[0]:
            factor, position = groups_[ends[k]]
            assert factor == depth + 1
            assert place[depth + 1, position] > k
    codes = [design.factors[f].codes for f in forest.order]
    for depth in range(1, shape[0]):
        first = forest.rest[depth - 1][:, 0]
        above = {place[depth, first[j]] for j in range(len(first))}
        assert above == set(np.flatnonzero(nodes[:, 0] == depth))
        assert nested(codes[depth - 1], codes[depth])


@SEVERAL
def test_every_number_has_one_place(name):
    """Blocks of cells, cross-products with [X y] and the corner share out the data without gap or overlap."""
    forest, shape, *_ = forest_of(MANY[name])
    m = shape[2]
    places = [
        *(block.ravel() for block in forest.blocks.values()),
        *(block.ravel() for block in forest.xy),
        forest.corner + np.arange(m * m),
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate(places)), np.arange(forest.size))


@SEVERAL
def test_effects_outside_the_leaves_have_one_place_each(name):
    forest = take_moments(MANY[name]).forest
    places = np.concatenate([part.ravel() for part in forest.rest])
    np.testing.assert_array_equal(np.sort(places), np.arange(forest.rest_size))


@pytest.mark.parametrize(
    "name", [name for name in WITH_FOREST if name.startswith(("nested pair", "chain", "the same"))]
)
def test_nested_designs_leave_no_core(name):
    _, shape, *_, pairs, levels = forest_of(MANY[name])
    empty = "crossed" not in name
    assert (shape[1] == 0) == empty
    assert (len(pairs) == len(levels) == 0) == empty
    assert shape[0] == (len(MANY[name].factors) if empty else 3)


def test_the_core_is_what_is_not_in_the_chain():
    for name, chain, D in (
        ("two crossed", 1, 4),
        ("two crossed, slopes", 1, 4 * 3),
        ("three crossed", 1, 8 + 3),  # 5 levels of 2 effects are more than 8 of one
        ("nested within crossed", 2, 5),
        ("nested within crossed, slopes", 2, 5 * 3),
        ("chain and two crossed", 3, 4 + 3),
    ):
        _, shape, *_ = forest_of(MANY[name])
        assert (shape[0], shape[1]) == (chain, D), name


def test_fronts_hold_only_the_levels_that_meet():
    """A level of the chain couples with the core levels in its own rows, not with the others."""
    design = MANY["two crossed, few cells"]
    forest, shape, *_, nodes, _, _, _, _, _, _ = forest_of(design)
    m = shape[2]
    a, b = (design.factors[f].codes for f in forest.order)
    for level, size in zip(nodes[:, 3], nodes[:, 1], strict=True):
        assert size == 1 + len(np.unique(b[a == level])) + m


# --- what is stored ---------------------------------------------------------------------------------


def crossed(n, a=40, b=30, seed=0):
    return random_model(seed, named("ab", groups(seed, n, a, b)), [("a", 1, True), ("b", 1, True)])


def test_storage_is_that_of_the_cells():
    design = crossed(300)
    m = design.X.shape[1] + 1
    a, b = (factor.codes for factor in design.factors)
    cells = len(np.unique(a * 30 + b))
    assert cells < 300
    moments = take_moments(design)
    assert moments.data.shape == (1, (40 + 30) * (1 + m) + cells + m * m)


@pytest.mark.parametrize("copies", [2, 50])
def test_storage_does_not_grow_with_the_rows(copies):
    design = crossed(300)
    codes = named("ab", [np.tile(factor.codes, copies) for factor in design.factors])
    larger = take_moments(random_model(1, codes, [("a", 1, True), ("b", 1, True)]))
    moments = take_moments(design)
    assert larger.n == copies * moments.n
    assert larger.data.size == moments.data.size
    assert larger.forest.tree.size == moments.forest.tree.size


@pytest.mark.parametrize("design", [crossed(300), MANY["chain and two crossed, slopes"]], ids=["crossed", "chain"])
def test_no_array_is_as_large_as_rows_by_groups(design):
    moments = take_moments(design)
    dense_size = design.n * sum(len(factor.levels) for factor in design.factors)
    forest = moments.forest
    sizes = [moments.data.size, forest.tree.size, *(block.size for block in forest.blocks.values())]
    assert max(sizes) < dense_size / 2


def test_what_a_nested_chain_stores_is_linear_in_the_levels():
    """Ten times as many groups of the same shape take ten times the place, not a hundred times."""

    def size(top):
        rows = np.arange(12 * top)
        codes = named("abc", [rows // 12, rows // 4, rows // 2])
        return take_moments(random_model(2, codes, [(name, 1, True) for name in "abc"])).data.size

    assert size(300) - 9 == 10 * (size(30) - 9)  # but for [X y]ᵀ[X y]


# --- cells ------------------------------------------------------------------------------------------


def test_cells_are_the_pairs_that_occur():
    a, b = np.array([0, 2, 1, 2, 0, 2]), np.array([1, 0, 1, 3, 1, 0])
    cells = Cells.of(a, b, 4)
    assert list(zip(cells.row.tolist(), cells.column.tolist(), strict=True)) == [(0, 1), (1, 1), (2, 0), (2, 3)]
    np.testing.assert_array_equal(cells.find(a, b), [0, 2, 1, 3, 0, 2])


def test_a_plan_needs_no_rows_of_numbers():
    """It depends on the codes alone."""
    a, b = groups(4, 40, 6, 3)
    one = plan(factors_of(a, b), [1, 1], [0, 1], 3)
    order = np.random.default_rng(0).permutation(40)
    other = plan(factors_of(a[order], b[order]), [1, 1], [0, 1], 3)
    np.testing.assert_array_equal(one.tree, other.tree)
