    local fits = is_list == has_list
    if value then
      flag = tag - number
      local least = number == FIXED_WINDOW and 24 or number == SLIDING_WINDOW_COUNTER and 32
        or number == TOKEN_BUCKET and 40 or number == SLIDING_WINDOW_LOG and 40 or math.huge
      beside_size = size - least
      if flag > 0 then
        fits = fits and number == TOKEN_BUCKET and (flag == RECEIPT_OFFSET and beside_size == 24
          or flag == FREED_SLOTS and beside_size % 32 == 0 and beside_size > 0 and beside_size <= 512)
      else
        fits = fits and beside_size == 0
      end
    end
    if not fits then
      return nil, i .. ': it is no state'
    end
  end

  -- It is not asked when it is shut, or for more than it ever gives (no wait helps), or to give back.
  local allowed, wait = refunds or opens == 0 and cost <= capacity, nil
  if opens > 0 and cost <= capacity then
    wait = opens - now
  end
  local asks = allowed and not refunds

  -- What an algorithm tells: whether it charged and its receipt, where the key stands, the numbers of
  -- its state, and for a log what becomes of its entries.
  local charges, level_hi, level_lo, remaining, reset_after, lifetime, format, a, b, c, d, e, beside
  local fresh, dropped, cut, place, replaced, removed, entry
