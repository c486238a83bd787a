# The contenders in R: Rscript peers.R TASK CSV FORMULA [NAME=VALUE ...]
# prints its figures as one line of JSON. Libraries and data are loaded before the clock starts.
arguments <- commandArgs(TRUE)
task <- arguments[1]
options(warn = -1)

emit <- function(figures) {
  quoted <- function(x) if (is.character(x)) encodeString(x, quote = '"') else format(x, digits = 15)
  cat("\n{", paste0('"', names(figures), '": ', vapply(figures, quoted, ""), collapse = ", "), "}\n", sep = "")
}
now <- function() as.numeric(Sys.time())
seconds <- function(expression) {
  start <- now()
  force(expression)
  now() - start
}
quietly <- function(package) suppressPackageStartupMessages(library(package, character.only = TRUE))

# As process.repeated: a first call, then the median of further ones; the call returns a criterion.
repeated <- function(call) {
  taken <- numeric()
  while (length(taken) < 2 || (sum(taken[-1]) < option$budget && length(taken) <= option$most))
    taken <- c(taken, seconds(criterion <- call()))
  list(
    first = taken[1], median = median(taken[-1]), fastest = min(taken[-1]), repeats = length(taken) - 1,
    criterion = criterion
  )
}

reml <- function() {
  quietly("lme4")
  repeated(function() suppressMessages(REMLcrit(lmer(formula, data))))
}

refits <- function() {
  quietly("lme4")
  fit <- lmer(formula, data)
  responses <- data[grep("^new", names(data))]
  repeated(function() sum(vapply(responses, function(y) suppressMessages(REMLcrit(refit(fit, y))), 0)))
}

# Draws (iteration, chain, parameter) go to a file, one chain after the other.
posterior <- function(taken, draws, stanfit) {
  columns <- apply(draws, 3, c)
  write.csv(columns, option$output, row.names = FALSE)
  list(seconds = taken, divergences = rstan::get_num_divergent(stanfit))
}

rstanarm <- function() {
  quietly("rstanarm")
  taken <- seconds(fit <- stan_lmer(
    formula, data, chains = option$chains, iter = option$draws + option$tune, warmup = option$tune,
    cores = option$cores, seed = 1, refresh = 0
  ))
  draws <- as.array(fit)
  draws <- draws[, , !grepl("^b\\[", dimnames(draws)[[3]]), drop = FALSE]
  posterior(taken, correlations(draws), fit$stanfit)
}

# Covariances "Sigma[g:a,b]" of rstanarm become correlations; effective sample sizes of variances and
# standard deviations are the same.
correlations <- function(draws) {
  names <- dimnames(draws)[[3]]
  for (name in grep("^Sigma\\[", names, value = TRUE)) {
    parts <- regmatches(name, regexec("^Sigma\\[(.*):([^:,]*),([^:,]*)\\]$", name))[[1]]
    variance <- function(effect) draws[, , sprintf("Sigma[%s:%s,%s]", parts[2], effect, effect)]
    if (parts[3] != parts[4]) draws[, , name] <- draws[, , name] / sqrt(variance(parts[3]) * variance(parts[4]))
  }
  draws
}

# brms writes a Stan program per model; the first process compiles and keeps it, the second reuses it
# for the data it is given.
brms <- function() {
  quietly("brms")
  if (!file.exists(rstan::rstan_options("boost_lib"))) rstan::rstan_options(boost_lib = "/usr/include")  # Debian
  file <- file.path(option$cache, paste0("brms-", gsub("[^A-Za-z0-9]+", "-", arguments[3]), ".rds"))
  taken <- seconds({
    if (!file.exists(file)) saveRDS(brm(formula, data, chains = 0, silent = 2), file)
    fit <- update(
      readRDS(file), newdata = data, recompile = FALSE, chains = option$chains, seed = 1, silent = 2,
      iter = option$draws + option$tune, warmup = option$tune, cores = option$cores, refresh = 0
    )
  })
  draws <- posterior::as_draws_array(fit, variable = c("^b_", "^sd_", "^cor_", "^sigma$"), regex = TRUE)
  posterior(taken, unclass(draws), fit$fit)
}

versions <- function() {
  packages <- c("lme4", "rstan", "rstanarm", "brms")
  found <- lapply(packages, function(name) {
    if (nzchar(system.file(package = name))) as.character(packageVersion(name)) else "not installed"
  })
  c(list(R = as.character(getRversion()), "BLAS of R" = basename(extSoftVersion()[["BLAS"]])), setNames(found, packages))
}

if (length(arguments) > 1) {
  data <- read.csv(arguments[2], stringsAsFactors = TRUE)
  formula <- as.formula(arguments[3])
  given <- regmatches(arguments[-(1:3)], regexpr("=", arguments[-(1:3)]), invert = TRUE)
  option <- setNames(lapply(given, function(x) type.convert(x[2], as.is = TRUE)), vapply(given, `[`, "", 1))
  for (name in intersect(names(data), strsplit(as.character(option$factors), ",")[[1]])) data[[name]] <- factor(data[[name]])
}
tasks <- list(reml = reml, refit = refits, rstanarm = rstanarm, brms = brms, versions = versions)
emit(tryCatch(tasks[[task]](), error = function(e) list(failed = sub("\n.*", "", conditionMessage(e)))))
