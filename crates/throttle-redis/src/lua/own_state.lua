    local fits = is_list == has_list
    if value then
      flag = tag - number
      local least = number == FIXED_WINDOW and 24 or number == SLIDING_WINDOW_COUNTER and 32
        or number == TOKEN_BUCKET and 40 or number == SLIDING_WINDOW_LOG and 40 or math.huge
      extra_size = size - least
      if flag > 0 then
        fits = fits and number == TOKEN_BUCKET and (flag == RECEIPT_OFFSET and extra_size == 24
          or flag == FREED_SLOTS and extra_size % 32 == 0 and extra_size > 0 and extra_size <= 512)
      else
        fits = fits and extra_size == 0
      end
    end
    if not fits then
      return nil, i .. ': it is not a rate limit state'
    end
  end

  -- The algorithm does not decide if the key is blocked, for a cost above the capacity (for which waiting does not
  -- help), or for a refund.
  local allowed, wait = refunds or blocked_until == 0 and cost <= capacity, nil
  if blocked_until > 0 and cost <= capacity then
    wait = blocked_until - now
  end
  local asks = allowed and not refunds

  -- The results of an algorithm: whether it charged, its receipt, the remaining capacity, the numbers of its
  -- state, and for a log the changes of its entries.
  local charges, level_hi, level_lo, remaining, reset_after, lifetime, format, a, b, c, d, e, extra
  local fresh, dropped, cut, index, replaced, removed, entry
