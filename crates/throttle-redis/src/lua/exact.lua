-- Exact arithmetic above 2^53, where doubles cannot represent every integer.
--
-- A product is the sum of two doubles: the rounded product, and the exact rounding error (T. J. Dekker, "A
-- floating-point technique for extending the available precision", 1971). Limits and windows are below 2^50 and
-- times below 2^53, so that no product exceeds 2^103.

-- Returns a·b exactly, in two parts.
local function product(a, b)
  local hi = a * b
  if hi < 9007199254740992 then -- 2^53
    return hi, 0
  end
  local t = 134217729 * a -- 2^27 + 1 cuts 53 bits into 26 and 27
  local a_hi = t - (t - a)
  local a_lo = a - a_hi
  t = 134217729 * b
  local b_hi = t - (t - b)
  local b_lo = b - b_hi
  return hi, a_lo * b_lo - (hi - a_hi * b_hi - a_lo * b_hi - a_hi * b_lo)
end

-- Returns (hi + lo) / b rounded down, and the remainder. A quotient of 2^53 or more is not exact.
local function quotient(hi, lo, b)
  local guess = math.floor(hi / b)
  if guess >= 9007199254740992 then
    return guess, 0
  end
  local p_hi, p_lo = product(guess, b)
  local left = (hi - p_hi) + (lo - p_lo) -- exact and small: the guess is nearly right, or lo is below 2^50
  local off = math.floor(left / b)
  return guess + off, left - off * b
end

-- Returns a·b / c rounded down, and the remainder. A quotient of 2^53 or more is not exact.
local function mul_div(a, b, c)
  local whole = a * b
  if whole < 9007199254740992 then
    return math.floor(whole / c), whole % c
  end
  local hi, lo = product(a, b)
  return quotient(hi, lo, c)
end
