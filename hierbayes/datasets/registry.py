"""The one table of data sets: name, size, columns, what it is, where it is from, how to get it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One entry of the table.

    Parameters
    ----------
    name : str
        What `load_data` is asked for, and the stem of the CSV file if there is one.
    rows : int
        Number of observations.
    columns : tuple of str
        Column names in their order.
    description : str
        What was observed, and anything that a user ought to know before modelling it.
    source : str
        The publication or tutorial that the figures come from.
    licence : str
        On what terms they can be had.
    text : tuple of str
        Columns of a CSV file that hold labels and are read as strings.
    ordered : mapping
        Columns of a CSV file that hold labels with an order, and these in that order; read as ordered categoricals.
    recipe : callable, optional
        Computes the frame; given for the simulated sets only.
    sha256 : str, optional
        Checksum of the CSV file; given for the downloaded sets only.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    description: str
    source: str
    licence: str
    text: tuple[str, ...] = ()
    ordered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recipe: Callable[[], pd.DataFrame] | None = None
    sha256: str | None = None

    @property
    def access(self) -> str:
        """How the data are had: "simulated", "download" or "embedded".

        Examples
        --------
        >>> REGISTRY["rat_pup"].access
        'download'
        """
        if self.recipe is not None:
            return "simulated"
        return "embedded" if self.sha256 is None else "download"


_LME4 = (
    "Figures as published in the source; this table of them is distributed with the R package lme4 (GPL-2 or later)"
)
_NLME = _LME4.replace("lme4", "nlme")
_ORDINAL = _LME4.replace("lme4", "ordinal")
_OWN = "Computed by hierbayes (MIT)"
_COURSE = (
    "Belongs to the pystatsml course, with no licence known to us, so it is not part of hierbayes but "
    "fetched from the course's public repository"
)
_DAVIES = (
    "Davies, O. L. and Goldsmith, P. L., eds (1972). Statistical Methods in Research and Production, "
    "4th ed. Oliver and Boyd"
)
_CLUSTERED = "The tutorial 'Clustered Data and Linear Models in Python'"
_MIXED = "The tutorial 'Linear Mixed Models in Python'"
_PYSTATSML = "Duchesnay, E. Statistics and Machine Learning in Python (github.com/duchesnay/pystatsml)"

_ENTRIES = (
    Dataset(
        name="sleepstudy",
        rows=180,
        columns=("Reaction", "Days", "Subject"),
        text=("Subject",),
        description=(
            "Mean reaction time (ms) of 18 subjects on each of 10 days; from the third night on they could "
            "sleep 3 hours a night (days 0 and 1 were training, day 2 the baseline)"
        ),
        source=(
            "Belenky, G. et al. (2003). Patterns of performance degradation and restoration during sleep "
            "restriction and subsequent recovery: a sleep dose-response study. Journal of Sleep Research "
            "12, 1-12"
        ),
        licence=_LME4,
    ),
    Dataset(
        name="Penicillin",
        rows=144,
        columns=("diameter", "plate", "sample"),
        text=("plate", "sample"),
        description=(
            "Diameter (mm) of the clear zone around 6 penicillin samples, each tested on all of 24 plates: "
            "two fully crossed factors"
        ),
        source=f"{_DAVIES}, section 6.6",
        licence=_LME4,
    ),
    Dataset(
        name="Pastes",
        rows=60,
        columns=("strength", "batch", "cask", "sample"),
        text=("batch", "cask", "sample"),
        description=(
            "Strength of a chemical paste, assayed twice in each of 3 casks from each of 10 batches; casks "
            "a, b, c are other casks in every batch, so use batch/cask or sample"
        ),
        source=f"{_DAVIES}, section 6.5",
        licence=_LME4,
    ),
    Dataset(
        name="Dyestuff",
        rows=30,
        columns=("Batch", "Yield"),
        text=("Batch",),
        description=(
            "Yield of dyestuff (grams of standard colour) in 5 preparations from each of 6 batches of an "
            "intermediate product"
        ),
        source=f"{_DAVIES}, section 6.4",
        licence=_LME4,
    ),
    Dataset(
        name="Dyestuff2",
        rows=30,
        columns=("Batch", "Yield"),
        text=("Batch",),
        description=(
            "Made-up yields in the layout of Dyestuff that vary less between batches than within them: the "
            "estimated batch variance is zero"
        ),
        source=(
            "Box, G. E. P. and Tiao, G. C. (1973). Bayesian Inference in Statistical Analysis. "
            "Addison-Wesley, section 5.1.2"
        ),
        licence=_LME4,
    ),
    Dataset(
        name="cake",
        rows=270,
        columns=("replicate", "recipe", "temperature", "angle", "temp"),
        text=("replicate", "recipe", "temperature"),
        description=(
            "Angle (degrees) at which chocolate cakes broke: 3 recipes in 15 replicates each, every batter "
            "baked at 6 temperatures (temp, degrees Fahrenheit; temperature holds the same as labels). "
            "Replicates are numbered anew within each recipe"
        ),
        source=(
            "Cook, F. E. (1938). Chocolate cake, I: Optimum baking temperature. Master's thesis, Iowa State "
            "College; in Cochran, W. G. and Cox, G. M. (1957). Experimental Designs, 2nd ed. Wiley, p. 300"
        ),
        licence=_LME4,
    ),
    Dataset(
        name="cbpp",
        rows=56,
        columns=("herd", "incidence", "size", "period"),
        text=("herd", "period"),
        description=(
            "New cases (incidence) of contagious bovine pleuropneumonia among the animals (size) of 15 "
            "Ethiopian zebu herds, in up to 4 quarterly periods: binomial counts"
        ),
        source=(
            "Lesnoff, M. et al. (2004). Within-herd spread of contagious bovine pleuropneumonia in Ethiopian "
            "highlands. Preventive Veterinary Medicine 64, 27-40; lme4 calls the exact origin of this table "
            "unclear"
        ),
        licence=_LME4,
    ),
    Dataset(
        name="eight_schools",
        rows=8,
        columns=("school", "effect", "se"),
        text=("school",),
        description=(
            "Estimated effect of coaching on the verbal score of the Scholastic Aptitude Test in each of 8 schools, "
            "from 8 separate experiments, with its standard error (se), which is taken as known"
        ),
        source=(
            "Rubin, D. B. (1981). Estimation in parallel randomized experiments. Journal of Educational "
            "Statistics 6, 377-401"
        ),
        licence=(
            "Figures as published in the source, 8 estimates and their standard errors, as in Gelman, A. et al. "
            "(2013). Bayesian Data Analysis, 3rd ed., section 5.5"
        ),
    ),
    Dataset(
        name="Orthodont",
        rows=108,
        columns=("distance", "age", "Subject", "Sex"),
        text=("Subject", "Sex"),
        description=(
            "Distance (mm) from the pituitary gland to the pterygomaxillary fissure of 16 boys and 11 girls at 8, "
            "10, 12 and 14 years, from x-ray images; those of boy M09 go up and down as no other's do"
        ),
        source=(
            "Potthoff, R. F. and Roy, S. N. (1964). A generalized multivariate analysis of variance model useful "
            "especially for growth curve problems. Biometrika 51, 313-326"
        ),
        licence=_NLME,
    ),
    Dataset(
        name="radon",
        rows=919,
        columns=("county", "floor", "radon", "log_radon", "log_uranium"),
        text=("county",),
        description=(
            "Radon (pCi/L) in 919 houses of 85 counties of Minnesota, measured in the basement (floor 0) or on the "
            "first floor (1), and the log of the uranium in the county's soil (ppm). log_radon is log(radon), where "
            "0.0 is taken as 0.1, as in the book; the column of that name elsewhere (rstanarm, PyMC) is "
            "log(radon + 0.1)"
        ),
        source=(
            "Gelman, A. and Hill, J. (2007). Data Analysis Using Regression and Multilevel/Hierarchical Models. "
            "Cambridge University Press, chapter 12; from the State Residential Radon Survey of 1987-88 of the "
            "U.S. Environmental Protection Agency; Price, P. N., Nero, A. V. and Gelman, A. (1996). Bayesian "
            "prediction of mean indoor radon concentrations for Minnesota counties. Health Physics 71, 922-936"
        ),
        licence=(
            "Measurements of a public survey; the table they are taken from is distributed with the R package "
            "rstanarm (GPL-3 or later)"
        ),
    ),
    Dataset(
        name="grouseticks",
        rows=403,
        columns=("INDEX", "TICKS", "BROOD", "HEIGHT", "YEAR", "LOCATION", "cHEIGHT"),
        text=("INDEX", "BROOD", "YEAR", "LOCATION"),
        description=(
            "Ticks on the heads of 403 red grouse chicks (INDEX) of 118 broods at 63 locations in 1995, 1996 and "
            "1997: counts, a third of them 0, the largest 85. HEIGHT is in metres above sea level, cHEIGHT the same "
            "less its mean"
        ),
        source=(
            "Elston, D. A. et al. (2001). Analysis of aggregation, a worked example: numbers of ticks on red grouse "
            "chicks. Parasitology 122, 563-569; the data were given by R. Moss by way of D. Elston"
        ),
        licence=_LME4.replace("Figures as published in", "Figures behind"),
    ),
    Dataset(
        name="wine",
        rows=72,
        columns=("response", "rating", "temp", "contact", "bottle", "judge"),
        text=("temp", "contact", "bottle", "judge"),
        ordered={"rating": ("1", "2", "3", "4", "5")},
        description=(
            "Bitterness of wine on a scale from 0 to 100 (response) and grouped into five ordered ratings, 1 to 5: 9 "
            "judges tasted 8 bottles each, 2 of every combination of temperature and contact of juice with skins"
        ),
        source=(
            "Randall, J. (1989). The analysis of sensory data by generalised linear model. Biometrical Journal "
            "31, 781-793"
        ),
        licence=_ORDINAL,
    ),
    Dataset(
        name="clustered_blobs",
        rows=150,
        columns=("cluster", "X", "y"),
        description=(
            "Three round clouds of 50 points strung along the diagonal: a strong correlation overall, though "
            "X and y are drawn independently within each cluster"
        ),
        source=f"{_CLUSTERED}, slide 1",
        licence=_OWN,
        recipe=recipes.clustered_blobs,
    ),
    Dataset(
        name="simpson",
        rows=200,
        columns=("group", "x", "y"),
        description=(
            "Two uniform squares of 100 points, the second shifted to the right.  Meant to show Simpson's "
            "paradox, but x and y are independent in each group and the means of y agree, so that no trend "
            "is there to reverse"
        ),
        source=f"{_CLUSTERED}, slide 3",
        licence=_OWN,
        recipe=recipes.simpson,
    ),
    Dataset(
        name="reversal",
        rows=200,
        columns=("group", "x", "y"),
        description=(
            "8 groups of 25 whose means rise together (slope 1.2 between groups) while y falls with x in each of "
            "them (slope -0.8 within; group sd 0.5, residual sd 1): Simpson's paradox with known slopes"
        ),
        source="Simulated for hierbayes",
        licence=_OWN,
        recipe=recipes.reversal,
    ),
    Dataset(
        name="five_groups",
        rows=100,
        columns=("group", "X", "y"),
        description=(
            "5 groups of 20; the same group mean is added to X and to y, so that the group effect is "
            "correlated with the predictor (slope 0.5 within groups, residual sd 0.5)"
        ),
        source=f"{_CLUSTERED}, slide 4",
        licence=_OWN,
        recipe=recipes.five_groups,
    ),
    Dataset(
        name="arma_clusters",
        rows=150,
        columns=("cluster", "time", "value"),
        description=(
            "3 series of 50 times, each ARMA(1, 1) with its own coefficients near 0.75 and 0.65, at levels 0, 2 and 4"
        ),
        source=f"{_CLUSTERED}, slide 9, whose negated list is read as a negated coefficient",
        licence=_OWN,
        recipe=recipes.arma_clusters,
    ),
    Dataset(
        name="unbalanced_clusters",
        rows=380,
        columns=("cluster", "X", "y"),
        description=(
            "5 clusters of 10 to 200 points with X centred at 0, 1, ..., 4 and one slope of 0.5 (residual sd "
            "0.5); y has no cluster effect of its own"
        ),
        source=f"{_CLUSTERED}, slide 10",
        licence=_OWN,
        recipe=recipes.unbalanced_clusters,
    ),
    Dataset(
        name="education",
        rows=500,
        columns=("school", "study_hours", "test_score"),
        description=("50 students in each of 10 schools: 2 points per hour of study, school sd 5, residual sd 10"),
        source=f"{_CLUSTERED}, slide 12",
        licence=_OWN,
        recipe=recipes.education,
    ),
    Dataset(
        name="environment",
        rows=240,
        columns=("city", "temperature", "pollution"),
        description="30 days in each of 8 cities: 2 units per degree Celsius, city sd 10, residual sd 15",
        source=f"{_CLUSTERED}, slide 13",
        licence=_OWN,
        recipe=recipes.environment,
    ),
    Dataset(
        name="repeated_measures",
        rows=20,
        columns=("subject", "time", "treatment", "response"),
        description=(
            "4 subjects at 5 times, two of them treated; the response is pure noise, without an effect of "
            "time, treatment or subject"
        ),
        source=f"{_MIXED}, slide 1; it sets no seed, here it is 42",
        licence=_OWN,
        recipe=recipes.repeated_measures,
    ),
    Dataset(
        name="crossed",
        rows=1500,
        columns=("subject", "item", "condition", "response"),
        description=(
            "50 subjects by 30 items, fully crossed, with a condition drawn anew for each row; the response "
            "is pure noise, so that every variance component but the residual one is truly zero"
        ),
        source=f"{_MIXED}, slide 7",
        licence=_OWN,
        recipe=recipes.crossed,
    ),
    Dataset(
        name="power_study",
        rows=100,
        columns=("subject", "X", "y"),
        description="One simulated study: 20 subjects, 5 rows each, slope 0.3, subject sd 0.5, residual sd 1",
        source=f"{_MIXED}, slide 11; it sets no seed, here it is 42",
        licence=_OWN,
        recipe=recipes.power_study,
    ),
    Dataset(
        name="score_parentedu_byclass",
        rows=60,
        columns=("classroom", "edu", "score"),
        text=("classroom",),
        description=(
            "Simulated scores of 60 students, 20 in each of 3 classrooms, given the education level of their "
            "parents (edu, 0 to 10); the true slope is 0.1 in every classroom"
        ),
        source=f"{_PYSTATSML}, chapter on linear mixed models",
        licence=_COURSE,
        sha256="d2e30660b9e0d540a057d29c027fba3c19b4aeb9d8ae6ab04b20aabf9f1d8dd9",
    ),
    Dataset(
        name="rat_pup",
        rows=322,
        columns=("pup_id", "weight", "sex", "litter", "litsize", "treatment"),
        text=("sex", "litter", "treatment"),
        description=(
            "Birth weight (g) of 322 rat pups in 27 litters whose mothers had a control, low or high dose of "
            "a compound (3 of the 10 high-dose litters are missing)"
        ),
        source=(
            "Dempster, A. P. et al. (1984). Statistical and computational aspects of mixed model analysis. "
            "Journal of the Royal Statistical Society C 33, 203-214; the file is from "
            f"{_PYSTATSML}, chapter on linear mixed models"
        ),
        licence=_COURSE,
        sha256="6b9c0d3a52f07e949c41ba4f88b59e4449d39999a80cd4e7730641b1465ffd36",
    ),
)

REGISTRY: Mapping[str, Dataset] = {entry.name: entry for entry in _ENTRIES}
